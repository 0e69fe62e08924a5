//! `vmfs map`: where the bytes of a file lie, one part after another, in little memory.

use super::volume::Opened;
use crate::error::Error;
use crate::output::{Lines, Outcome, Show, clean, size};
use serde_json::{Value, json};
use std::io;
use vmfs::{Mapped, Target};

/// Bytes by kind.
#[derive(Default)]
struct Totals {
    lun: u64,
    hole: u64,
    zero: u64,
    resident: u64,
    unknown: u64,
}

/// `vmfs map`. The list may be long, so it is written as it comes.
pub(super) fn map(opened: &Opened, show: Show, path: &str) -> Result<Outcome, Error> {
    let file = opened.file(path)?;
    let length = file.length();
    let failed = || Error::vmfs(format!("mapping {path:?}"));
    let parts = file.parts(0, length).map_err(failed())?;
    let mut out = Lines::new();
    let mut totals = Totals::default();
    let mut ended = None;
    let wrote = head(&mut out, opened, show, path, length).and_then(|()| {
        let mut first = true;
        for part in parts {
            match part {
                Ok(part) => {
                    totals.add(&part);
                    row(&mut out, opened, show, &part, std::mem::take(&mut first))?;
                }
                Err(error) => ended = Some(error),
            }
        }
        Ok(())
    });
    wrote.map_err(Error::output)?;
    let failed = ended.or_else(|| file.recheck().err()).map(|error| failed()(error));
    foot(&mut out, show, &totals, failed.as_ref()).map_err(Error::output)?;
    match failed {
        Some(error) if !show.json => Err(error),
        failed => Ok(Outcome::printed(failed.is_none())),
    }
}

fn head(out: &mut Lines, opened: &Opened, show: Show, path: &str, length: u64) -> io::Result<()> {
    if !show.json {
        return out.write(&format!("{:>16} {:>16}  WHERE\n", "OFFSET", "LENGTH"));
    }
    let (path, names) = (json!(path), json!(opened.names));
    out.write(&format!(
        "{{\n  \"path\": {path},\n  \"length\": {length},\n  \"devices\": {names},\n  \"parts\": ["
    ))
}

fn row(out: &mut Lines, opened: &Opened, show: Show, part: &Mapped, first: bool) -> io::Result<()> {
    let (offset, length) = (part.file_offset, part.length);
    if show.json {
        let comma = if first { "" } else { "," };
        return out.write(&format!("{comma}\n    {}", part_json(part)));
    }
    let place = match part.to {
        Target::Lun(extent) => {
            let name = opened.names.get(extent.device).map_or("?", String::as_str);
            format!("{} at {}", clean(name), extent.offset)
        }
        Target::Hole => "hole".into(),
        Target::Zero => "zero: a block that was never written".into(),
        Target::Resident => "in the descriptor".into(),
        Target::Unknown(reason) => format!("UNKNOWN: {reason}"),
    };
    out.write(&format!("{offset:>16} {length:>16}  {place}\n"))
}

fn part_json(part: &Mapped) -> Value {
    let mut json = json!({ "offset": part.file_offset, "length": part.length });
    let kind = match part.to {
        Target::Lun(extent) => {
            json["device"] = extent.device.into();
            json["at"] = extent.offset.into();
            "lun"
        }
        Target::Hole => "hole",
        Target::Zero => "zero",
        Target::Resident => "resident",
        Target::Unknown(reason) => {
            json["reason"] = reason.to_string().into();
            "unknown"
        }
    };
    json["kind"] = kind.into();
    json
}

fn foot(out: &mut Lines, show: Show, totals: &Totals, failed: Option<&Error>) -> io::Result<()> {
    let Totals { lun, hole, zero, resident, unknown } = *totals;
    if show.json {
        let error = serde_json::to_value(failed.map(Error::problem))?;
        out.write(&format!(
            "\n  ],\n  \"lun_bytes\": {lun},\n  \"hole_bytes\": {hole},\n  \
             \"zero_bytes\": {zero},\n  \"resident_bytes\": {resident},\n  \
             \"unknown_bytes\": {unknown},\n  \"error\": {error}\n}}\n"
        ))?;
    } else if failed.is_none() {
        let [lun, hole, zero, resident] = [lun, hole, zero, resident].map(size);
        let unknown =
            if unknown > 0 { format!("; {} NOT UNDERSTOOD", size(unknown)) } else { String::new() };
        out.write(&format!(
            "\n{lun} on devices, {hole} holes, {zero} never written, {resident} in the \
             descriptor{unknown}\n"
        ))?;
    }
    out.flush()
}

impl Totals {
    fn add(&mut self, part: &Mapped) {
        *match part.to {
            Target::Lun(_) => &mut self.lun,
            Target::Hole => &mut self.hole,
            Target::Zero => &mut self.zero,
            Target::Resident => &mut self.resident,
            Target::Unknown(_) => &mut self.unknown,
        } += part.length;
    }
}
