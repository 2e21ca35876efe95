//! Settings.

use phi3::api::SettingOrigin;

use crate::state::theme::Theme;

pub const THEME: &str = "Theme";
pub const THEME_WHY: &str = "Kept in this browser, for every page of this address.";
pub const UNITS: &str = "Units";
pub const UNITS_WHY: &str = "GiB and MiB are powers of two, everywhere on these pages. GB, as on the box of a GPU, is a power of ten: 24 GB are 22.35 GiB. Every number copies as exact bytes with a click. There is no switch: whole sentences of the estimate have sizes in them, and two units on one page get mixed up.";
pub const TOKEN: &str = "Token of the server";
pub const TOKEN_WHY: &str = "For a server that asks for one. It is shown to the server once, which answers with a cookie for this tab and its siblings; no script can read it, and no link holds it.";
pub const TOKEN_FIELD: &str = "Token";
pub const SHOW_TOKEN: &str = "Show it to the server";
pub const LOCKED: &str = "This server asks for its token";
pub const LOCKED_WHY: &str = "It answers nothing else until it has seen it. Whoever started it has it: --token-file, or PREFLIGHT_TOKEN.";
pub const LET_IN: &str = "The server lets this page in.";
pub const NO_TOKEN_ASKED: &str = "This server asks for no token.";

pub const SERVER: &str = "Settings of the server";
pub const SERVER_WHY: &str = "What holds while it runs: a flag, else a variable of its environment, else its config file, else the default. They are changed where it is started; preflight config show --origin tells the same there. A token is never shown.";
pub const SERVER_NONE: &str = "No server answers these pages, or it has not let them in.";
pub const SETTING: &str = "Setting";
pub const VALUE: &str = "Value";
pub const ORIGIN: &str = "From";

pub fn origin(origin: SettingOrigin) -> &'static str {
    match origin {
        SettingOrigin::Flag => "a flag",
        SettingOrigin::Environment => "the environment",
        SettingOrigin::File => "the config file",
        SettingOrigin::Default => "the default",
    }
}

pub fn file(path: Option<&str>) -> String {
    path.map_or_else(|| "No config file was read.".to_owned(), |path| format!("Config file: {path}"))
}

pub fn theme(theme: Theme) -> &'static str {
    match theme {
        Theme::System => "As the system says",
        Theme::Light => "Light",
        Theme::Dark => "Dark",
    }
}
