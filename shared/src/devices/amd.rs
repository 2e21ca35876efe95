//! AMD: Instinct and Radeon.

use super::Arch::{Cdna2, Cdna3, Cdna4, Rdna2, Rdna3, Rdna4};
use super::Class::{DataCentre, Desktop, Workstation};
use super::Usable::{ByRule, Measured};
use super::{Device, LLAMA, RULE, TORCH, gpu};

/// Every card, by class, then by age.
pub(super) const TABLE: [Device; 30] = [
    // Instinct: an MI250 is two devices to a program
    gpu("MI210", Cdna2, DataCentre, 64, ByRule, 1_640, RULE),
    gpu("MI250 GCD", Cdna2, DataCentre, 64, Measured(65_510), 1_640, TORCH),
    gpu(
        "MI300X",
        Cdna3,
        DataCentre,
        192,
        Measured(196_582),
        5_300,
        "ROCm documentation, out-of-memory example: 191.98 GiB; 5.3 TB/s: Vultr inference cookbook",
    ),
    gpu(
        "MI325X",
        Cdna3,
        DataCentre,
        256,
        Measured(262_118),
        6_000,
        "vLLM log, ROCm: 255.98 GiB; 6.0 TB/s: Vultr inference cookbook",
    ),
    gpu("MI350X", Cdna4, DataCentre, 288, ByRule, 8_190, RULE),
    gpu("MI355X", Cdna4, DataCentre, 288, Measured(294_886), 8_190, TORCH),
    // Radeon
    gpu("RX 6600", Rdna2, Desktop, 8, ByRule, 224, RULE),
    gpu("RX 6600 XT", Rdna2, Desktop, 8, ByRule, 256, RULE),
    gpu("RX 6650 XT", Rdna2, Desktop, 8, ByRule, 280, RULE),
    gpu("RX 6700 XT", Rdna2, Desktop, 12, ByRule, 384, RULE),
    gpu("RX 6750 XT", Rdna2, Desktop, 12, ByRule, 432, RULE),
    gpu("RX 6800", Rdna2, Desktop, 16, ByRule, 512, RULE),
    gpu("RX 6800 XT", Rdna2, Desktop, 16, ByRule, 512, RULE),
    gpu("RX 6900 XT", Rdna2, Desktop, 16, ByRule, 512, RULE),
    gpu("RX 6950 XT", Rdna2, Desktop, 16, ByRule, 576, RULE),
    gpu("RX 7600", Rdna3, Desktop, 8, ByRule, 288, RULE),
    gpu("RX 7600 XT", Rdna3, Desktop, 16, ByRule, 288, RULE),
    gpu("RX 7700 XT", Rdna3, Desktop, 12, ByRule, 432, RULE),
    gpu("RX 7800 XT", Rdna3, Desktop, 16, ByRule, 624, RULE),
    gpu("RX 7900 GRE", Rdna3, Desktop, 16, ByRule, 576, RULE),
    gpu("RX 7900 XT", Rdna3, Desktop, 20, Measured(20_464), 800, LLAMA),
    gpu("RX 7900 XTX", Rdna3, Desktop, 24, Measured(24_560), 960, LLAMA),
    gpu("RX 9060 XT 8 GB", Rdna4, Desktop, 8, ByRule, 322, RULE),
    gpu("RX 9060 XT 16 GB", Rdna4, Desktop, 16, Measured(16_304), 322, LLAMA),
    gpu("RX 9070", Rdna4, Desktop, 16, Measured(16_304), 644, LLAMA),
    gpu("RX 9070 XT", Rdna4, Desktop, 16, Measured(16_304), 644, LLAMA),
    gpu("PRO W7800 32 GB", Rdna3, Workstation, 32, ByRule, 576, RULE),
    gpu("PRO W7800 48 GB", Rdna3, Workstation, 48, ByRule, 864, RULE),
    gpu("PRO W7900", Rdna3, Workstation, 48, ByRule, 864, RULE),
    gpu("AI PRO R9700", Rdna4, Workstation, 32, Measured(32_624), 644, LLAMA),
];
