//! Bytes in an address: `s=1.` and base64url, without padding, of raw deflate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, DecodeSliceError};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::{LinkError, MAX_LINK_BYTES, MAX_STATE_BYTES};

const KEY: &str = "s=";
const VERSION: &str = "1";
/// The strongest; a state has a few KB.
const LEVEL: u8 = 10;
/// Deflated bytes of the longest link.
const MAX_PACKED_BYTES: usize = MAX_LINK_BYTES / 4 * 3;

/// The part of an address after `#`.
pub(super) fn pack(bytes: &[u8]) -> Result<String, LinkError> {
    let too_large = |what| Err(LinkError::StateTooLarge { what });
    if bytes.len() > MAX_STATE_BYTES {
        return too_large(format!("{} bytes of JSON, at most {MAX_STATE_BYTES}", bytes.len()));
    }
    let packed = miniz_oxide::deflate::compress_to_vec(bytes, LEVEL);
    let link = format!("{KEY}{VERSION}.{}", URL_SAFE_NO_PAD.encode(packed));
    if link.len() > MAX_LINK_BYTES {
        return too_large(format!("a link of {} characters, at most {MAX_LINK_BYTES}", link.len()));
    }
    Ok(link)
}

/// The bytes in a link: an address, what stands after its `#`, or from the version on.
///
/// Takes no more memory than [`MAX_STATE_BYTES`], whatever it is given.
pub(super) fn unpack(link: &str) -> Result<Vec<u8>, LinkError> {
    let link = link.trim();
    let link = link.split_once('#').map_or(link, |(_, fragment)| fragment);
    let link = link.strip_prefix(KEY).unwrap_or(link);
    let (version, payload) = link.split_once('.').ok_or(LinkError::NotALink)?;
    if version.is_empty() || version.len() > 3 || !version.bytes().all(|b| b.is_ascii_digit()) {
        return Err(LinkError::NotALink);
    }
    if version != VERSION {
        return Err(LinkError::Version { found: version.to_owned() });
    }
    if KEY.len() + link.len() > MAX_LINK_BYTES {
        return Err(LinkError::TooLong { bytes: KEY.len() + link.len() });
    }
    let damaged = |what: String| LinkError::Damaged { what };
    let mut packed = [0; MAX_PACKED_BYTES];
    let len = URL_SAFE_NO_PAD.decode_slice(payload, &mut packed).map_err(|error| match error {
        DecodeSliceError::DecodeError(DecodeError::InvalidByte(at, _)) => {
            damaged(format!("character {} of its content is none of a link", at + 1))
        }
        _ => damaged("its end is missing".to_owned()),
    })?;
    let packed = packed.get(..len).unwrap_or_default();

    let mut bytes = vec![0; MAX_STATE_BYTES];
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut DecompressorOxide::new(), packed, &mut bytes, 0, flags);
    match status {
        TINFLStatus::Done if read == packed.len() => {
            bytes.truncate(written);
            Ok(bytes)
        }
        TINFLStatus::Done => Err(damaged(format!("{} bytes too many", packed.len() - read))),
        TINFLStatus::HasMoreOutput => Err(LinkError::Bomb),
        TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
            Err(damaged("its end is missing".to_owned()))
        }
        _ => Err(damaged("it does not unpack".to_owned())),
    }
}
