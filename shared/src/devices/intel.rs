//! Intel: Arc.

use super::Arch::{Alchemist, Battlemage};
use super::Class::{Desktop, Workstation};
use super::Usable::{ByRule, Measured};
use super::{Device, RULE, gpu};

/// Every card, by age.
pub(super) const TABLE: [Device; 8] = [
    gpu("Arc A380", Alchemist, Desktop, 6, ByRule, 186, RULE),
    gpu("Arc A580", Alchemist, Desktop, 8, ByRule, 512, RULE),
    gpu("Arc A750", Alchemist, Desktop, 8, ByRule, 512, RULE),
    gpu(
        "Arc A770",
        Alchemist,
        Desktop,
        16,
        Measured(15_473),
        512,
        "llama.cpp SYCL device list: 16225243136 bytes (issue 5250)",
    ),
    gpu("Arc B570", Battlemage, Desktop, 10, ByRule, 380, RULE),
    gpu("Arc B580", Battlemage, Desktop, 12, Measured(11_605), 456, "ComfyUI-OmniXPU status: 11605 MiB"),
    gpu("Arc Pro B50", Battlemage, Workstation, 16, Measured(15_881), 224, "llama.cpp PR 24476: 15881 MiB"),
    gpu("Arc Pro B60", Battlemage, Workstation, 24, ByRule, 456, RULE),
];
