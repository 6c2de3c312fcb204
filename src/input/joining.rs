//! What a source keeps while it joins lines: the [`Joiner`], and what came out of what is behind each place it may be sent back
//! to.
//!
//! A source that joins resumes before the oldest line that is still open, so it reads on from there after a crash. Before that,
//! in the same process, it is sent back for two reasons, and they differ: a batch was *held*, so it goes back by exactly one
//! read; or one was *abandoned*, and it goes back to what is settled. Several batches may end at one place (one stream goes on
//! while a record of the other is open), and which of them is settled the place does not say: then what came out when it was
//! first reached is taken for it. So a hold repeats nothing, and an abandoned batch loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::batch::Position;
use crate::budget::PartPermit;
use crate::decode::join::Marks;
use crate::decode::{JoinOptions, Joined, Joiner};
use crate::event::Timestamp;

use super::source::Fill;

/// A source's joiner.
pub struct Joining {
    joiner: Joiner,
    /// Before the read that goes on, or the last one.
    before: Marks,
    /// After the last read, whose batch may still be held.
    after: Option<(u64, Marks)>,
    /// When a place was first reached, in the order of the places; none before what is settled.
    reached: VecDeque<(u64, Marks)>,
    /// For the text of what is open.
    permit: Option<PartPermit>,
    /// Where the source resumes.
    resume: Position,
}

impl Joining {
    /// Of a source that stands at `position`.
    pub fn new(options: &Arc<JoinOptions>, position: Position) -> Self {
        let mut joiner = Joiner::new(Arc::clone(options));
        joiner.restore(position.offset, None);
        let marks = joiner.marks();
        let reached = VecDeque::from([(position.offset, marks)]);
        Self { joiner, before: marks, after: None, reached, permit: None, resume: position }
    }

    /// A read begins: the batch of the last one was taken.
    pub fn begin(&mut self) {
        self.taken();
        self.before = self.joiner.marks();
    }

    fn taken(&mut self) {
        if let Some(after) = self.after.take()
            && self.reached.back().is_none_or(|(offset, _)| *offset < after.0)
        {
            self.reached.push_back(after);
        }
    }

    /// Takes the raw lines in `fill`, which end at `end`; the records that end with them are left there. `check`: that of the bytes
    /// before an offset, by what is in the buffer, if it can be told.
    pub fn take(&mut self, fill: &mut Fill, end: Position, now: Timestamp, check: impl Fn(&[u8], u64) -> Option<u64>) {
        let joined = self.joiner.take(&mut fill.buf, &mut fill.events, end.offset, now);
        self.joiner.note_checks(|offset| check(&fill.buf, offset));
        count(fill, joined);
        self.charge(fill);
        self.reached_end(end);
    }

    /// Ends what nothing was added to for its time.
    pub fn end_due(&mut self, fill: &mut Fill, end: Position, now: Timestamp) {
        let joined = self.joiner.end_due(&mut fill.buf, &mut fill.events, now);
        count(fill, joined);
        self.charge(fill);
        self.reached_end(end);
    }

    /// Ends everything that is open. `is_cut`: more of it may come.
    pub fn end_all(&mut self, fill: &mut Fill, end: Position, is_cut: bool) {
        let joined = self.joiner.end_all(&mut fill.buf, &mut fill.events, is_cut);
        count(fill, joined);
        self.permit = None;
        self.reached_end(end);
    }

    /// Where there is no memory for what is open, it ends, cut.
    fn charge(&mut self, fill: &mut Fill) {
        let Some(kept) = fill.kept.clone() else { return };
        if !kept.resize(&mut self.permit, self.joiner.bytes_held()) {
            let joined = self.joiner.end_all(&mut fill.buf, &mut fill.events, true);
            count(fill, joined);
            self.permit = None;
        }
    }

    fn reached_end(&mut self, end: Position) {
        self.resume = match self.joiner.resume() {
            None => end,
            Some(resume) => match resume.check {
                Some(check) => Position { offset: resume.offset, check },
                // Without it the place can't be found again: the one before is as good.
                None => self.resume,
            },
        };
        self.after = Some((self.resume.offset, self.joiner.marks()));
    }

    /// Where the source resumes after a crash.
    pub fn resume(&self) -> Position {
        self.resume
    }

    /// Goes back by one read, to `position`.
    pub fn hold(&mut self, position: Position) {
        self.after = None;
        let marks = self.before;
        self.restore(position, Some(marks));
    }

    /// Goes back to `position`, before which everything is settled.
    pub fn rewind(&mut self, position: Position) {
        self.taken();
        self.reached.retain(|(offset, _)| *offset <= position.offset);
        let marks = self.reached.back().filter(|(offset, _)| *offset == position.offset).map(|(_, marks)| *marks);
        self.restore(position, marks);
    }

    fn restore(&mut self, position: Position, marks: Option<Marks>) {
        self.joiner.restore(position.offset, marks);
        self.permit = None;
        self.resume = position;
        self.before = self.joiner.marks();
    }

    /// Nobody will send it back before `position`.
    pub fn settled(&mut self, position: Position) {
        while self.reached.front().is_some_and(|(offset, _)| *offset < position.offset) {
            self.reached.pop_front();
        }
    }

    /// Something is open.
    pub fn is_open(&self) -> bool {
        self.joiner.is_open()
    }

    /// Something is open that ends when nothing comes.
    pub fn is_waiting(&self) -> bool {
        self.joiner.is_open() && self.joiner.has_timeout()
    }

    /// Something has been open for its time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due_in(now).is_some_and(|wait| wait.is_zero())
    }

    /// How long until something that is open ends.
    pub fn due_in(&self, now: Timestamp) -> Option<std::time::Duration> {
        self.joiner.due_in(now)
    }
}

fn count(fill: &mut Fill, joined: Joined) {
    fill.lines_truncated += joined.truncated;
    fill.lines_filtered += joined.filtered;
    fill.lines_malformed += joined.malformed;
}
