//! The named nodes below one node of a tree.
//!
//! A few are looked through, which costs less than a hash, and most nodes have few. Many are hashed
//! with a key that clients do not know, so that no choice of names makes them slow.

use std::collections::HashMap;

/// As many as are looked through.
const FEW: usize = 8;

/// Nodes by name.
#[derive(Debug)]
pub(super) enum Children<N> {
    /// In no order.
    Few(Vec<(Box<str>, N)>),
    Many(HashMap<Box<str>, N>),
}

// Derived, it would demand `N: Default`.
impl<N> Default for Children<N> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<N: Default> Children<N> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&N> {
        match self {
            Self::Few(few) => {
                let mut few = few.iter();
                few.find(|(own, _)| **own == *name).map(|(_, node)| node)
            }
            Self::Many(many) => many.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut N> {
        match self {
            Self::Few(few) => {
                let mut few = few.iter_mut();
                few.find(|(own, _)| **own == *name).map(|(_, node)| node)
            }
            Self::Many(many) => many.get_mut(name),
        }
    }

    /// Returns the node of this name, and makes one if there is none.
    pub(super) fn place(&mut self, name: &str) -> &mut N {
        if let Self::Few(few) = self
            && few.len() >= FEW
            && !few.iter().any(|(own, _)| **own == *name)
        {
            *self = Self::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Self::Many(many) => many.entry(name.into()).or_default(),
            Self::Few(few) => {
                let at = few.iter().position(|(own, _)| **own == *name);
                let at = at.unwrap_or_else(|| {
                    few.reserve_exact(1);
                    few.push((name.into(), N::default()));
                    few.len() - 1
                });
                #[expect(clippy::indexing_slicing, reason = "it was found or made just above")]
                &mut few[at].1
            }
        }
    }

    /// Takes a node away, and gives memory back once most of it is unused.
    pub(super) fn remove(&mut self, name: &str) {
        match self {
            Self::Few(few) => few.retain(|(own, _)| **own != *name),
            Self::Many(many) => {
                many.remove(name);
                if many.len() <= FEW / 2 {
                    *self = Self::Few(many.drain().collect());
                } else if many.capacity() > 32 && many.len() < many.capacity() / 4 {
                    many.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_many_there_are_and_were() {
        let mut children = Children::default();
        let name = |number: usize| format!("name-{number}");
        for number in 0..100 {
            *children.place(&name(number)) = number + 1;
            *children.place(&name(number)) += 1;
            let is_few = matches!(children, Children::Few(_));
            assert_eq!(is_few, number < FEW);
        }
        for number in 0..100 {
            assert_eq!(children.get(&name(number)), Some(&(number + 2)));
        }
        for number in (0..100).rev() {
            children.remove(&name(number));
            assert_eq!(children.get_mut(&name(number)), None);
            let rest = (0..number).all(|other| children.get(&name(other)) == Some(&(other + 2)));
            assert!(rest, "{number}");
            assert_eq!(children.is_empty(), number == 0);
        }
        assert!(matches!(children, Children::Few(_)));
    }
}
