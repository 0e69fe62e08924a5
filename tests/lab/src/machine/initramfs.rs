//! The first file system of a guest, as the kernel unpacks it: an archive in cpio's "newc" format
//! (Linux, Documentation/driver-api/early-userspace/buffer-format.rst), not compressed.

use std::io::{Result, Write};

/// Bits of `st_mode` that say what an entry is.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
/// The name of the entry that ends an archive.
const END: &str = "TRAILER!!!";

/// Writes an archive, entry by entry.
#[derive(Debug)]
pub(super) struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// A directory; the ones above it come first.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY | 0o755, &[])
    }

    /// A file that may be executed.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, FILE | 0o755, content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        self.entry(END, 0, &[])?;
        self.out.flush()
    }

    /// A header of 13 numbers of 8 hexadecimal digits, the name with its NUL, the content; both
    /// padded to multiples of 4.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = content.len();
        let numbers = [self.entries, mode, 0, 0, 1, 0, length(size)?, 0, 0, 0, 0];
        let mut head = String::from("070701");
        for number in numbers.into_iter().chain([length(name.len() + 1)?, 0]) {
            head.push_str(&format!("{number:08X}"));
        }
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

fn length(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| std::io::Error::other("the format has 4 GiB at most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_headers_names_and_padding_where_the_kernel_looks() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.directory("bin").unwrap();
        archive.program("bin/a", b"hello").unwrap();
        archive.finish().unwrap();
        // 110 bytes of header: the name of 4 ends at 114, so 2 of padding; then the next header.
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[14..22], b"000041ED");
        assert_eq!(&bytes[110..116], b"bin\0\0\0");
        assert_eq!(&bytes[116..122], b"070701");
        assert_eq!(&bytes[116 + 54..116 + 62], b"00000005", "the size of the content");
        assert_eq!(&bytes[116 + 110..116 + 116], b"bin/a\0");
        assert_eq!(&bytes[232..240], b"hello\0\0\0");
        assert!(bytes.windows(END.len()).any(|name| name == END.as_bytes()));
        assert_eq!(bytes.len() % 4, 0);
    }
}
