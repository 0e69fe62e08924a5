//! The command window: which CmdSN comes next and whether it may be sent (RFC 7143, 4.2.2.1).

use crate::serial::before;

/// Invariant: every command with a CmdSN before `next` was sent; `next` may be sent only while
/// it is not after `max`.
#[derive(Debug)]
pub(crate) struct Window {
    next: u32,
    expected: u32,
    max: u32,
}

impl Window {
    /// The window before the target has said anything: one command (the login itself).
    pub(crate) fn new(first: u32) -> Self {
        Self { next: first, expected: first, max: first }
    }

    /// The CmdSN that the next command will carry.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    pub(crate) fn is_open(&self) -> bool {
        !before(self.max, self.next)
    }

    /// Takes the next CmdSN for a command that is not immediate.
    pub(crate) fn take(&mut self) -> u32 {
        let taken = self.next;
        self.next = self.next.wrapping_add(1);
        taken
    }

    /// What a target's PDU says. A pair with MaxCmdSN < ExpCmdSN - 1 is ignored, and neither
    /// number ever goes back, so that PDUs of different age cannot close the window.
    pub(crate) fn update(&mut self, expected: u32, max: u32) {
        if before(max, expected.wrapping_sub(1)) {
            return;
        }
        if before(self.max, max) {
            self.max = max;
        }
        if before(self.expected, expected) {
            self.expected = expected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_window_opens_again_across_the_wrap() {
        let mut window = Window::new(u32::MAX);
        assert!(window.is_open());
        assert_eq!(window.take(), u32::MAX);
        assert!(!window.is_open());
        window.update(0, u32::MAX); // closed: MaxCmdSN = ExpCmdSN - 1
        assert!(!window.is_open());
        window.update(0, 1);
        assert!(window.is_open());
        assert_eq!((window.take(), window.take()), (0, 1));
        assert!(!window.is_open());
    }

    #[test]
    fn old_and_impossible_pairs_change_nothing() {
        let mut window = Window::new(10);
        window.update(10, 20);
        window.update(10, 15);
        window.update(30, 28);
        assert_eq!(window.max, 20);
        window.update(12, 20);
        assert_eq!(window.expected, 12);
    }
}
