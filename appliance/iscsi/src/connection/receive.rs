//! From bytes to PDUs. Data of reads is put where it belongs by the read system call itself.
//!
//! ```text
//!            +------------------ one readv ------------------+
//!   [ rest of this PDU's data: the command's own buffer ][ staging: trailer, next headers ]
//! ```
//!
//! How much staging is offered decides between two costs. With large PDUs only a trailer and
//! one header fit, so that no data lands in staging and is copied; with small ones the whole
//! staging buffer is offered, so that many PDUs come with one system call.

use crate::IscsiError;
use crate::digest::{self, Running};
use crate::pdu::{HEADER, Header, Opcode};
use crate::tasks::{Place, Tasks};

/// Bytes of the staging buffer; it holds any header with all its additional segments.
const STAGING: usize = 64 * 1024;
/// From this many bytes of data on, a copy costs more than a system call.
const LARGE: usize = 16 * 1024;
/// Padding, data digest, one header and its digest: what may follow the data of a large PDU.
const LOOK_AHEAD: usize = 3 + 4 + HEADER + 4;
/// Data of PDUs other than reads (texts, sense) is gathered in memory of our own: bytes at most,
/// whatever larger segments we declared for reads.
const BODY_MAX: usize = 256 * 1024;

/// A PDU that is complete.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) header: Header,
    /// Set for Data-In.
    pub(crate) place: Option<Place>,
    /// The data digest is wrong.
    pub(crate) damaged: bool,
}

#[derive(Debug)]
enum State {
    Header,
    /// `done` of `length` bytes are there.
    Data {
        header: Header,
        place: Option<Place>,
        done: usize,
        crc: Running,
    },
    /// Padding and digest are to come.
    Trailer {
        header: Header,
        place: Option<Place>,
        crc: Running,
    },
}

/// Invariant: outside `State::Header` the staging buffer is drained before more is asked for,
/// except for a few bytes of an incomplete trailer.
#[derive(Debug)]
pub(crate) struct Receiver {
    staging: Box<[u8]>,
    start: usize,
    end: usize,
    state: State,
    body: Vec<u8>,
    large: bool,
    max_data: usize,
    pub(crate) header_digest: bool,
    pub(crate) data_digest: bool,
}

impl Receiver {
    /// `max_data`: the MaxRecvDataSegmentLength that we declare.
    pub(crate) fn new(max_data: u32) -> Self {
        Self {
            staging: vec![0; STAGING].into_boxed_slice(),
            start: 0,
            end: 0,
            state: State::Header,
            body: Vec::new(),
            large: false,
            max_data: usize::try_from(max_data).unwrap_or(usize::MAX),
            header_digest: false,
            data_digest: false,
        }
    }

    /// The data of the PDU that [`Self::poll`] returned last, unless it was Data-In.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Where the next bytes go, in this order. The first may be empty, the second never is.
    pub(crate) fn buffers<'a, T>(&'a mut self, tasks: &'a mut Tasks<T>) -> [&'a mut [u8]; 2] {
        self.compact();
        let room = if self.large { LOOK_AHEAD } else { STAGING };
        let limit = self.end.saturating_add(room).min(STAGING);
        let staging = &mut self.staging[self.end..limit];
        let direct = match &self.state {
            State::Data { header, place, done, .. } => {
                let length = data_length(header);
                match place {
                    Some(place) => tasks.buffer(*place, *done, length),
                    None => &mut self.body[*done..],
                }
            }
            _ => &mut [],
        };
        [direct, staging]
    }

    /// Bytes of the PDU that has begun which are certain to come; 0 between PDUs.
    pub(crate) fn expected(&self) -> usize {
        match &self.state {
            State::Header => 0,
            State::Data { header, done, .. } => data_length(header) - done + self.trailer(header),
            State::Trailer { header, .. } => {
                self.trailer(header).saturating_sub(self.staged().len())
            }
        }
    }

    /// Bytes after the data: padding and digest.
    fn trailer(&self, header: &Header) -> usize {
        let length = data_length(header);
        length.next_multiple_of(4) - length + if self.data_digest { 4 } else { 0 }
    }

    /// Forgets what was being received: the commands are taken back and their buffers with them.
    pub(crate) fn reset(&mut self) {
        self.state = State::Header;
        self.start = 0;
        self.end = 0;
    }

    /// Moves what is left in staging (less than a header) to its front.
    fn compact(&mut self) {
        if self.start > 0 {
            self.staging.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// `count` bytes were read into the buffers.
    pub(crate) fn filled<T>(&mut self, count: usize, tasks: &mut Tasks<T>) {
        let mut rest = count;
        if let State::Data { header, place, done, crc } = &mut self.state {
            let length = data_length(header);
            let direct = count.min(length - *done);
            if self.data_digest {
                let bytes = match place {
                    Some(place) => &tasks.buffer(*place, *done, length)[..direct],
                    None => &self.body[*done..*done + direct],
                };
                crc.add(bytes);
            }
            *done += direct;
            rest -= direct;
        }
        self.end = (self.end + rest).min(STAGING);
    }

    /// The next complete PDU; `None` when more bytes are needed.
    pub(crate) fn poll<T>(&mut self, tasks: &mut Tasks<T>) -> Result<Option<Received>, IscsiError> {
        loop {
            match std::mem::replace(&mut self.state, State::Header) {
                State::Header => match self.take_header(tasks)? {
                    Some(next) => self.state = next,
                    None => return Ok(None),
                },
                State::Data { header, place, done, crc } => {
                    let (done, crc) = self.move_data(&header, place, done, crc, tasks);
                    if done < data_length(&header) {
                        self.state = State::Data { header, place, done, crc };
                        return Ok(None);
                    }
                    self.state = State::Trailer { header, place, crc };
                }
                State::Trailer { header, place, crc } => match self.take_trailer(&header, crc) {
                    Some(damaged) => return Ok(Some(Received { header, place, damaged })),
                    None => {
                        self.state = State::Trailer { header, place, crc };
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn staged(&self) -> &[u8] {
        &self.staging[self.start..self.end]
    }

    fn take_header<T>(&mut self, tasks: &mut Tasks<T>) -> Result<Option<State>, IscsiError> {
        let Some(basic) = self.staged().first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header(*basic);
        let covered = HEADER + header.additional();
        let total = covered + if self.header_digest { 4 } else { 0 };
        if self.staged().len() < total {
            return Ok(None);
        }
        if self.header_digest
            && digest::of(&self.staged()[..covered]) != self.staged()[covered..total]
        {
            return Err(IscsiError::HeaderDigest);
        }
        self.start += total;
        self.begin_data(header, tasks).map(Some)
    }

    fn begin_data<T>(&mut self, header: Header, tasks: &mut Tasks<T>) -> Result<State, IscsiError> {
        let length = data_length(&header);
        if length > self.max_data {
            return Err(IscsiError::misbehaved(format!(
                "a PDU of {length} bytes, at most {} were allowed",
                self.max_data
            )));
        }
        let place = if header.opcode() == Opcode::DataIn {
            self.large = length >= LARGE;
            Some(tasks.place(&header).map_err(IscsiError::misbehaved)?)
        } else {
            if length > BODY_MAX {
                return Err(IscsiError::misbehaved(format!("a text of {length} bytes")));
            }
            self.body.clear();
            self.body.resize(length, 0);
            None
        };
        Ok(State::Data { header, place, done: 0, crc: Running::default() })
    }

    /// Copies what staging holds of the data to its place.
    fn move_data<T>(
        &mut self,
        header: &Header,
        place: Option<Place>,
        done: usize,
        mut crc: Running,
        tasks: &mut Tasks<T>,
    ) -> (usize, Running) {
        let length = data_length(header);
        let count = (self.end - self.start).min(length - done);
        if count == 0 {
            return (done, crc);
        }
        let from = &self.staging[self.start..self.start + count];
        match place {
            Some(place) => tasks.buffer(place, done, length)[..count].copy_from_slice(from),
            None => self.body[done..done + count].copy_from_slice(from),
        }
        if self.data_digest {
            crc.add(from);
        }
        self.start += count;
        (done + count, crc)
    }

    /// Whether the data is damaged; `None` when padding or digest are not there yet.
    fn take_trailer(&mut self, header: &Header, mut crc: Running) -> Option<bool> {
        let length = data_length(header);
        if length == 0 {
            return Some(false);
        }
        let total = self.trailer(header);
        if self.staged().len() < total {
            return None;
        }
        let padding = length.next_multiple_of(4) - length;
        let (pad, wire) = self.staged()[..total].split_at(padding);
        crc.add(pad);
        let damaged = self.data_digest && crc.wire() != *wire;
        self.start += total;
        Some(damaged)
    }
}

fn data_length(header: &Header) -> usize {
    usize::try_from(header.data_length()).expect("24 bits fit a usize")
}
