//! One slice, written by many tasks.

#![expect(unsafe_code, reason = "tasks write disjoint parts of one slice")]

use std::marker::PhantomData;
use std::ops::Range;

/// A slice that tasks write in disjoint parts.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for `&mut [T]`, which may be sent where `T` may.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: parts are handed out by `slice` and `read`, whose callers promise that none is written
// and used elsewhere at the same time.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            owner: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The start, for kernels that write strided parts.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// One part, for reading.
    ///
    /// # Panics
    /// When the range isn't inside the slice.
    ///
    /// # Safety
    /// Nobody writes to the part while it is alive.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &'a [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the assertion; not written by this function's contract.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// One part.
    ///
    /// # Panics
    /// When the range isn't inside the slice.
    ///
    /// # Safety
    /// Parts that are alive at the same time must not overlap.
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the assertion; exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
