//! Checks of single values that a range cannot express.

#![expect(
    clippy::ptr_arg,
    clippy::trivially_copy_pass_by_ref,
    reason = "a check takes a reference to the type of its field"
)]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::values::{Addresses, Size, Written};
use crate::mapping;
use crate::model::{Percentile, RESERVED_PREFIX, Statistics};

/// Refuses quantiles, and percentiles that appear twice or are not above the first limit and at most the second.
pub(super) fn percentiles(percentiles: &Vec<f64>, [above, at_most]: [f64; 2]) -> Result<(), String> {
    // 0.5 is a percentile, but a list without any number above 1 is a list of quantiles.
    let are_quantiles = percentiles.iter().all(|&percent| percent > 0.0 && percent <= 1.0);
    if are_quantiles && percentiles.iter().any(|&percent| percent < 1.0) {
        let percents: Vec<_> = percentiles.iter().map(|&quantile| percent(quantile).to_string()).collect();
        return Err(format!("these are quantiles, not percentiles; write [{}]", percents.join(", ")));
    }
    for (index, &percent) in percentiles.iter().enumerate() {
        if Percentile::new(percent).is_none() {
            return Err(format!("{percent} must be above {above} and at most {at_most}"));
        }
        if percentiles[..index].contains(&percent) {
            return Err(format!("{percent} appears twice; keep one"));
        }
    }
    Ok(())
}

/// Converts a quantile to a percentile. The product of 100 and 0.999 is not exactly 99.9, so it is rounded.
pub(super) fn percent(quantile: f64) -> f64 {
    (quantile * 1e12).round() / 1e10
}

pub(super) fn addresses(addresses: &Addresses) -> Result<(), String> {
    let addresses = addresses.get();
    if addresses.is_empty() {
        return Err("the list is empty; write an address, or set enabled = false".to_owned());
    }
    for (index, address) in addresses.iter().enumerate() {
        // With port 0, each socket gets a port of its own.
        if address.port() != 0 && addresses[..index].contains(address) {
            return Err(format!("\"{address}\" appears twice; keep one"));
        }
    }
    Ok(())
}

/// Refuses paths that no Unix socket can have. `longest` is in bytes.
pub(super) fn socket_path(path: &PathBuf, [longest]: [usize; 1]) -> Result<(), String> {
    match path.as_os_str().as_bytes() {
        [] => Err("empty; give the path of a file".to_owned()),
        bytes if bytes.contains(&0) => Err("a path cannot hold a NUL byte".to_owned()),
        bytes if bytes.len() > longest => {
            Err(format!("{} bytes long; the path of a Unix socket has at most {longest} bytes", bytes.len()))
        }
        _ => Ok(()),
    }
}

pub(super) fn optional_socket_path(path: &PathBuf, longest: [usize; 1]) -> Result<(), String> {
    if path.as_os_str().is_empty() { Ok(()) } else { socket_path(path, longest) }
}

pub(super) fn console_path(path: &PathBuf) -> Result<(), String> {
    refuse_if(path.as_os_str().is_empty(), "empty; give the path of a file, or \"-\" for standard output")
}

/// Refuses paths that do not end in `end`, such as `.prom`.
pub(super) fn textfile_path(path: &PathBuf, [end]: [&str; 1]) -> Result<(), String> {
    let is_read = path.extension().is_some_and(|extension| end[1..] == *extension);
    refuse_if(!is_read, &format!("must end in \"{end}\"; node_exporter reads no other files"))
}

/// Refuses paths that do not end in `end`, such as `.hlog`.
pub(super) fn hdr_log_path(path: &PathBuf, [end]: [&str; 1]) -> Result<(), String> {
    let is_log =
        path.file_stem().is_some() && path.extension().is_some_and(|extension| end[1..] == *extension);
    refuse_if(!is_log, &format!("must end in \"{end}\"; old files get names that end like this one"))
}

/// Refuses limits of the memory below `least`. Zero stands for a limit that fits the machine.
pub(super) fn memory_max(max: &Size, [least]: [&str; 1]) -> Result<(), String> {
    let is_wrong = max.get() > 0 && Size::read(least).is_some_and(|least| *max < least);
    refuse_if(is_wrong, &format!("must be at least \"{least}\", or \"0B\" for half of the machine's memory"))
}

pub(super) fn histogram_bounds(bounds: &Vec<f64>, [most]: [usize; 1]) -> Result<(), String> {
    let is_right = bounds.len() <= most && Statistics::are_bounds(bounds);
    refuse_if(!is_right, &format!("must be an ascending list of at most {most} finite numbers"))
}

pub(super) fn native_bucket_factor(factor: &f64, [above, at_most]: [f64; 2]) -> Result<(), String> {
    let is_right = *factor > above && *factor <= at_most;
    refuse_if(!is_right, &format!("must be above {above} and at most {at_most}"))
}

pub(super) fn own_tags(tags: &Vec<String>) -> Result<(), String> {
    let is_tag = |tag: &&String| {
        tag.split(':').next().is_some_and(|key| !key.is_empty())
            && !tag.contains(|character: char| character.is_control() || matches!(character, ',' | '|'))
    };
    match tags.iter().find(|tag| !is_tag(tag)) {
        None => Ok(()),
        Some(wrong) => Err(format!("{wrong:?} is not a tag; write \"key:value\" without commas and bars")),
    }
}

pub(super) fn page_path(path: &String) -> Result<(), String> {
    let is_page =
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    refuse_if(!is_page, "must begin with \"/\", and have neither spaces nor \"?\" nor \"#\"")?;
    let is_taken = path == "/" || path.starts_with("/-/") || path.starts_with("/api/");
    refuse_if(is_taken, "is the path of another page; write one such as \"/metrics\"")
}

pub(super) fn name_prefix(prefix: &String) -> Result<(), String> {
    mapping::check_text("the text", prefix)?;
    refuse_if(
        prefix.starts_with(RESERVED_PREFIX),
        "names that begin with \"tallyd.\" are tallyd's own, so all samples would be refused; choose another text",
    )
}

pub(super) fn prefix_except(texts: &Vec<String>) -> Result<(), String> {
    refuse_if(
        texts.iter().any(String::is_empty),
        "has an empty text, with which every name begins; leave it out",
    )
}

pub(super) fn new_keys(keys: &BTreeMap<String, String>) -> Result<(), String> {
    mapping::check_tag_edits(keys, &BTreeMap::new())
}

pub(super) fn new_values(values: &BTreeMap<String, BTreeMap<String, String>>) -> Result<(), String> {
    mapping::check_tag_edits(&BTreeMap::new(), values)
}

fn refuse_if(is_wrong: bool, problem: &str) -> Result<(), String> {
    if is_wrong { Err(problem.to_owned()) } else { Ok(()) }
}
