//! The children of one incarnation of a supervisor, in start order, by number.
//!
//! Numbers rise from 0 and none is used twice, so that late news of a child that was taken out is news of nobody.
//!
//! Invariant: `kept` is sorted, and all of its numbers are below `next`.

use std::ops::{Index, IndexMut};

#[derive(Clone, Debug)]
pub(crate) struct Row<T> {
    kept: Vec<(usize, T)>,
    next: usize,
}

impl<T> Row<T> {
    /// Appends, and returns the number.
    pub(crate) fn push(&mut self, value: T) -> usize {
        let number = self.next;
        self.kept.push((number, value));
        self.next += 1;
        number
    }

    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        self.place(number).map(|place| self.kept.remove(place).1)
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.place(number).map(|place| &self.kept[place].1)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.kept.iter().map(|(number, value)| (*number, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (usize, &mut T)> {
        self.kept.iter_mut().map(|(number, value)| (*number, value))
    }

    /// Until something is taken out, the number is the place.
    fn place(&self, number: usize) -> Option<usize> {
        match self.kept.get(number) {
            Some((found, _)) if *found == number => Some(number),
            _ => self.kept.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}

impl<T> FromIterator<T> for Row<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let kept: Vec<_> = values.into_iter().enumerate().collect();
        Self { next: kept.len(), kept }
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
        let place = self.place(number).expect("the number is of a child that has not been taken out");
        &mut self.kept[place].1
    }
}
