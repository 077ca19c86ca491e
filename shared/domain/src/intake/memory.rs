//! Memory shared by the uploads of a process: each takes what it needs while some is left, and returns it when it ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fault::{Mutant, mutant};

/// Bytes that may be in use at a time, by all that have a copy of this. The default is none at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory(Option<&'static AtomicUsize>);

impl Memory {
    /// So many bytes in all, for as long as the process lives: one is made for each process, not for each upload.
    pub fn of(bytes: usize) -> Self {
        if bytes == 0 {
            return Self(None);
        }
        let left: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(bytes)));
        Self(Some(left))
    }

    /// The bytes that are counted there.
    pub(crate) const fn counted(left: &'static AtomicUsize) -> Self {
        Self(Some(left))
    }

    /// Whether there is no memory at all, even if none is in use.
    pub(crate) const fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// Takes as many bytes as `wanted` says of those that are left, and says how many these are.
    pub(crate) fn take(self, wanted: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let left = self.0?;
        if mutant(Mutant::MemoryForEach) {
            return wanted(left.load(Ordering::Relaxed));
        }
        let take = |left: usize| left.checked_sub(wanted(left)?);
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        wanted(before)
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(self, bytes: usize) {
        if let Some(left) = self.0.filter(|_| !mutant(Mutant::MemoryForEach)) {
            left.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}
