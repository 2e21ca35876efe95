//! AMD's GPUs, by the files of the `amdgpu` kernel driver.
//!
//! Source: the kernel's documentation, "Misc AMDGPU driver information": `mem_info_vram_total`, `mem_info_vram_used`.

use std::path::Path;

use phi3::api::DeviceNow;

/// Where the kernel shows graphics cards.
pub(super) const DRM: &str = "/sys/class/drm";

/// AMD's number among the makers of PCI devices.
const VENDOR: &str = "0x1002";

/// Every AMD GPU below `drm`, by the number of its card.
pub(super) fn devices(drm: &Path) -> Vec<DeviceNow> {
    let entries = drm.read_dir().into_iter().flatten().flatten();
    let mut cards: Vec<(u32, std::path::PathBuf)> = entries
        .filter_map(|entry| {
            // `card0`; `card0-DP-1` is one of its outputs.
            let number = entry.file_name().to_str()?.strip_prefix("card")?.parse().ok()?;
            Some((number, entry.path().join("device")))
        })
        .collect();
    cards.sort();
    let text = |path: &Path, name: &str| -> Option<String> {
        let text = std::fs::read_to_string(path.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let device = |(index, path): (usize, std::path::PathBuf)| {
        let number = |name: &str| text(&path, name)?.parse::<u64>().ok();
        let (total, used) = (number("mem_info_vram_total"), number("mem_info_vram_used"));
        let free = total.zip(used).map(|(total, used)| total.saturating_sub(used));
        DeviceNow {
            device: format!("amdgpu:{index}"),
            name: text(&path, "product_name").unwrap_or_else(|| {
                let id = text(&path, "device").unwrap_or_default();
                format!("AMD GPU {id}").trim_end().to_owned()
            }),
            driver: text(Path::new("/sys/module/amdgpu"), "version")
                .map(|version| format!("amdgpu {version}")),
            total_bytes: total,
            free_bytes: free,
            used_bytes: used,
            holders: Vec::new(),
            source: "amdgpu sysfs".to_owned(),
            fault: None,
        }
    };
    let amd = cards
        .into_iter()
        .map(|(_, path)| path)
        .filter(|path| text(path, "vendor").as_deref() == Some(VENDOR));
    amd.enumerate().map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_read_from_the_kernels_files() {
        let drm = tempfile::tempdir().expect("a temporary directory");
        let write = |card: &str, name: &str, text: &str| {
            let folder = drm.path().join(card).join("device");
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join(name), text).expect("written");
        };
        write("card0", "vendor", "0x8086\n");
        write("card1", "vendor", "0x1002\n");
        write("card1", "device", "0x744c\n");
        write("card1", "mem_info_vram_total", "25753026560\n");
        write("card1", "mem_info_vram_used", "1073741824\n");
        write("card1-DP-1", "vendor", "0x1002\n");
        write("card2", "vendor", "0x1002\n");
        let found = devices(drm.path());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].free_bytes), ("AMD GPU 0x744c", Some(24_679_284_736)));
        assert_eq!((found[1].device.as_str(), found[1].total_bytes), ("amdgpu:1", None));
        assert!(devices(&drm.path().join("none")).is_empty());
    }
}
