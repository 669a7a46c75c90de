//! The children of one incarnation of a supervisor, in start order, by number.
//!
//! Numbers rise from 0 and none is used twice, so that late news of a child that was taken out is news of nobody. Taking
//! one out leaves a gap, and the gaps are closed when they outnumber the children: both cost a constant time on average.
//!
//! Invariants: `kept` is sorted, all of its numbers are below `next`, and `gaps` of its values are none.

use std::ops::{Bound, Index, IndexMut, Range, RangeBounds};

/// So many gaps are never worth closing.
const GAPS_MIN: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Row<T> {
    kept: Vec<(usize, Option<T>)>,
    gaps: usize,
    next: usize,
}

impl<T> Row<T> {
    /// Appends, and returns the number.
    pub(crate) fn push(&mut self, value: T) -> usize {
        let number = self.next;
        self.kept.push((number, Some(value)));
        self.next += 1;
        number
    }

    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let place = self.place(number)?;
        let taken = self.kept[place].1.take();
        self.gaps += usize::from(taken.is_some());
        if self.gaps > GAPS_MIN.max(self.len()) {
            self.kept.retain(|(_, value)| value.is_some());
            self.gaps = 0;
        }
        taken
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.place(number).and_then(|place| self.kept[place].1.as_ref())
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.place(number).and_then(|place| self.kept[place].1.as_mut())
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len() - self.gaps
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.range(..)
    }

    /// Those whose numbers are in `numbers`.
    pub(crate) fn range(&self, numbers: impl RangeBounds<usize>) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.kept[self.places(numbers)].iter().filter_map(|(number, value)| Some((*number, value.as_ref()?)))
    }

    pub(crate) fn range_mut(
        &mut self,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = (usize, &mut T)> {
        let places = self.places(numbers);
        self.kept[places].iter_mut().filter_map(|(number, value)| Some((*number, value.as_mut()?)))
    }

    fn places(&self, numbers: impl RangeBounds<usize>) -> Range<usize> {
        let before = |number: usize| self.kept.partition_point(|(other, _)| *other < number);
        let start = match numbers.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(number) => before(*number),
            Bound::Excluded(number) => before(number + 1),
        };
        let end = match numbers.end_bound() {
            Bound::Unbounded => self.kept.len(),
            Bound::Included(number) => before(number + 1),
            Bound::Excluded(number) => before(*number),
        };
        start..end.max(start)
    }

    /// Until gaps are closed, the number is the place.
    fn place(&self, number: usize) -> Option<usize> {
        match self.kept.get(number) {
            Some((found, _)) if *found == number => Some(number),
            _ => self.kept.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}

impl<T> FromIterator<T> for Row<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let kept: Vec<_> = values.into_iter().map(Some).enumerate().collect();
        Self { next: kept.len(), gaps: 0, kept }
    }
}

impl<T> Index<usize> for Row<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        self.get(number).expect("the number is of a child that has not been taken out")
    }
}

impl<T> IndexMut<usize> for Row<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        self.get_mut(number).expect("the number is of a child that has not been taken out")
    }
}
