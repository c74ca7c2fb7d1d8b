//! A list whose nodes lie in libc's heap, outside of the library's own. It has no destructor, so that it may be a
//! thread-local; whoever drops one that is not empty leaks its nodes.

use super::libc;
use std::{iter, ptr};

pub struct List<T> {
    first: *mut Node<T>,
}

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

// SAFETY: a list owns its nodes, and hands them out by value or for the time of a borrow.
unsafe impl<T: Send> Send for List<T> {}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> List<T> {
    pub const fn new() -> Self {
        List { first: ptr::null_mut() }
    }

    /// Puts a value in front; one for which there is no memory is given back.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.first = keep(Node { value, next: self.first }).map_err(|node| node.value)?;
        Ok(())
    }

    /// Takes the value that was pushed last.
    pub fn pop(&mut self) -> Option<T> {
        if self.first.is_null() {
            return None;
        }
        // SAFETY: it is not null, so it is a node that `push` kept and that nothing else points to.
        let node = unsafe { take(self.first) };
        self.first = node.next;
        Some(node.value)
    }

    /// A copy of the value that many were pushed after.
    pub fn nth(&self, index: usize) -> Option<T>
    where
        T: Copy,
    {
        // SAFETY: a link is null or points to a node that `push` kept, which lives as long as it is in the list.
        let mut nodes =
            iter::successors(unsafe { self.first.as_ref() }, |node| unsafe { node.next.as_ref() });
        nodes.nth(index).map(|node| node.value)
    }

    /// Drops what is not wanted, and counts what is left.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> u32 {
        let mut left = 0;
        let mut link = &mut self.first;
        // SAFETY: a link is null or points to a node that `push` kept, which lives until it is taken here.
        while let Some(node) = unsafe { link.as_mut() } {
            if is_wanted(&node.value) {
                left += 1;
                link = &mut node.next;
            } else {
                let unwanted = *link;
                *link = node.next;
                // SAFETY: nothing points to it any more.
                drop(unsafe { take(unwanted) });
            }
        }
        left
    }
}

/// Moves a value into libc's heap.
pub fn keep<T>(value: T) -> Result<*mut T, T> {
    const { assert!(align_of::<T>() <= align_of::<usize>() && size_of::<T>() > 0) };
    // SAFETY: any size may be asked for.
    let place = unsafe { libc::malloc(size_of::<T>()) }.cast::<T>();
    if place.is_null() {
        return Err(value);
    }
    // SAFETY: malloc gave room of this size, aligned for a word.
    unsafe { place.write(value) };
    Ok(place)
}

/// Moves it back out.
///
/// # Safety
/// `kept` must come from [`keep`], and is used up.
pub unsafe fn take<T>(kept: *mut T) -> T {
    // SAFETY: the caller vouches.
    unsafe {
        let value = kept.read();
        libc::free(kept.cast());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: std::ops::Range<u32>) -> List<u32> {
        let mut list = List::new();
        values.for_each(|value| list.push(value).unwrap());
        list
    }

    #[test]
    fn each_is_found_by_its_place() {
        let list = list(0..3);
        assert_eq!([0, 1, 2, 3].map(|index| list.nth(index)), [Some(2), Some(1), Some(0), None]);
    }

    fn drained(mut list: List<u32>) -> Vec<u32> {
        std::iter::from_fn(|| list.pop()).collect()
    }

    #[test]
    fn what_was_pushed_last_is_popped_first() {
        assert_eq!(drained(list(0..4)), [3, 2, 1, 0]);
        assert!(drained(List::new()).is_empty());
    }

    #[test]
    fn what_is_not_wanted_is_dropped_wherever_it_stands() {
        type IsWanted = fn(&u32) -> bool;
        let cases: [(IsWanted, &[u32]); 5] = [
            (|_| true, &[3, 2, 1, 0]),
            (|_| false, &[]),
            (|value| *value != 3, &[2, 1, 0]),
            (|value| *value != 0, &[3, 2, 1]),
            (|value| value % 2 == 1, &[3, 1]),
        ];
        for (is_wanted, expected) in cases {
            let mut list = list(0..4);
            assert_eq!(list.retain(is_wanted) as usize, expected.len());
            assert_eq!(drained(list), expected);
        }
    }
}
