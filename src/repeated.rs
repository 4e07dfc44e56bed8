//! Repeated lines of the log, kept to one in a while.

use crate::clock::Instant;
use crate::limits::LOG_REPEAT_INTERVAL;

/// Lets a line of one kind pass once in [`LOG_REPEAT_INTERVAL`], and counts those in between.
///
/// Who writes the line is the caller, under a target of its own, so that nothing is formatted in vain.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    last: Option<Instant>,
    swallowed: u64,
}

impl Repeated {
    /// Whether a line may be written now, and how many were swallowed since the last.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        let again = |last| now.since(last) < LOG_REPEAT_INTERVAL;
        if self.last.is_some_and(again) {
            self.swallowed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.swallowed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_line_passes_in_a_while_and_tells_of_the_others() {
        let (mut lines, start) = (Repeated::default(), Instant::START);
        let almost = LOG_REPEAT_INTERVAL - Duration::from_nanos(1);
        assert_eq!(lines.pass(start), Some(0));
        assert_eq!(lines.pass(start), None);
        assert_eq!(lines.pass(start + almost), None);
        assert_eq!(lines.pass(start + LOG_REPEAT_INTERVAL), Some(2));
        assert_eq!(lines.pass(start + 2 * LOG_REPEAT_INTERVAL), Some(0));
    }
}
