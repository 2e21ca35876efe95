//! Settings.

use crate::state::theme::Theme;

pub const THEME: &str = "Theme";
pub const THEME_WHY: &str = "Kept in this browser, for every page of this address.";
pub const UNITS: &str = "Units";
pub const UNITS_WHY: &str = "GiB and MiB are powers of two, everywhere on these pages. GB, as on the box of a GPU, is a power of ten: 24 GB are 22.35 GiB. Every number copies as exact bytes with a click.";
pub const TOKEN: &str = "Token of the server";
pub const TOKEN_WHY: &str = "For a server that asks for one. It is shown to the server once, which answers with a cookie for this tab and its siblings; no script can read it, and no link holds it.";
pub const TOKEN_FIELD: &str = "Token";
pub const SHOW_TOKEN: &str = "Show it to the server";
pub const LOCKED: &str = "This server asks for its token";
pub const LOCKED_WHY: &str = "It answers nothing else until it has seen it. Whoever started it has it: --token-file, or PREFLIGHT_TOKEN.";
pub const LET_IN: &str = "The server lets this page in.";
pub const NO_TOKEN_ASKED: &str = "This server asks for no token.";

pub fn theme(theme: Theme) -> &'static str {
    match theme {
        Theme::System => "As the system says",
        Theme::Light => "Light",
        Theme::Dark => "Dark",
    }
}
