//! Numbered places that are used again: the scheduler's objects refer to each other by number.

use std::marker::PhantomData;

/// The number of a `T` in its [`Arena`].
pub(super) struct Id<T> {
    index: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    pub(super) const MIN: Id<T> = Id { index: 0, kind: PhantomData };

    pub(super) fn number(self) -> u32 {
        self.index
    }

    pub(super) fn from_number(index: u32) -> Id<T> {
        Id { index, kind: PhantomData }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Id<T> {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Id<T>) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Id<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Id<T>) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> std::fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Arena<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(super) fn new() -> Arena<T> {
        Arena { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Id<T> {
        let index = if let Some(index) = self.free.pop() {
            self.places[index as usize] = Some(value);
            index
        } else {
            self.places.push(Some(value));
            u32::try_from(self.places.len() - 1).expect("the active limits keep the arenas far below 2^32")
        };
        Id::from_number(index)
    }

    pub(super) fn remove(&mut self, id: Id<T>) -> Option<T> {
        let value = self.places.get_mut(id.index as usize)?.take()?;
        self.free.push(id.index);
        Some(value)
    }

    pub(super) fn get(&self, id: Id<T>) -> Option<&T> {
        self.places.get(id.index as usize)?.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.is_some())
            .map(|(index, _)| Id::from_number(index as u32))
    }
}

impl<T> std::ops::Index<Id<T>> for Arena<T> {
    type Output = T;

    fn index(&self, id: Id<T>) -> &T {
        self.places[id.index as usize].as_ref().expect("an id lives as long as what it names")
    }
}

impl<T> std::ops::IndexMut<Id<T>> for Arena<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        self.places[id.index as usize].as_mut().expect("an id lives as long as what it names")
    }
}
