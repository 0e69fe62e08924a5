//! The one option of a TCP socket that no library has.

use std::io;
use std::os::fd::AsRawFd as _;
use tokio::net::TcpStream;

/// From how many bytes on the socket counts as readable (SO_RCVLOWAT, socket(7)); the end of the
/// stream always does.
pub(crate) fn wake_at(stream: &TcpStream, bytes: i32) -> io::Result<()> {
    let (option, length) = (libc::SO_RCVLOWAT, size_of::<i32>());
    let length = libc::socklen_t::try_from(length).expect("4");
    // SAFETY: the option takes one `int` of that length, which lives as long as the call.
    #[expect(unsafe_code, reason = "no library has this option")]
    let result = unsafe {
        let value = (&raw const bytes).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
