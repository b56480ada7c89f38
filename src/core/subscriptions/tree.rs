//! A tree of topic filters, one node per level.
//!
//! Decides which values a topic reaches; what the values mean is left to the caller. Looking a
//! topic up costs what it matches, not what is stored; nodes without values are pruned at once.

use std::str::Split;

use super::children::Children;
use crate::core::topic::TopicFilter;

#[cfg(test)]
thread_local! {
    /// Nodes that look-ups of this thread have stepped on: what a look-up costs, without a clock.
    pub(crate) static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Values by topic filter.
#[derive(Debug)]
pub(crate) struct FilterTree<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    children: Children<Self>,
    /// What stands below `+`.
    plus: Option<Box<Self>>,
    /// The value of the filter that ends here.
    here: Option<T>,
    /// The value of the filter that ends here with `/#`.
    below: Option<T>,
}

/// Returns the bytes of a node beside others, without the text of its name.
pub(super) const fn node_bytes<T>() -> usize {
    size_of::<(Box<str>, Node<T>)>()
}

// Derived, it would demand `T: Default`.
impl<T> Default for FilterTree<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            children: Children::default(),
            plus: None,
            here: None,
            below: None,
        }
    }
}

impl<T> FilterTree<T> {
    /// Returns the place of a filter's value, for writing; the caller fills an empty one.
    pub(crate) fn place(&mut self, filter: &TopicFilter) -> &mut Option<T> {
        let mut node = &mut self.root;
        for level in filter.as_str().split('/') {
            match level {
                "#" => return &mut node.below,
                "+" => node = node.plus.get_or_insert_default(),
                name => node = node.children.place(name),
            }
        }
        &mut node.here
    }

    /// Lets `edit` change or take away a filter's value, then prunes nodes without values.
    pub(crate) fn edit(&mut self, filter: &TopicFilter, edit: impl FnOnce(&mut Option<T>)) {
        self.root.edit(filter.as_str().split('/'), edit);
    }

    /// Calls `found` with the value of each filter that matches the topic.
    pub(crate) fn visit(&mut self, topic: &str, found: &mut dyn FnMut(&mut T)) {
        self.root
            .visit(topic.split('/'), topic.starts_with('$'), found);
    }

    /// Returns whether some filter matches the topic.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.root.matches(topic.split('/'), topic.starts_with('$'))
    }

    /// Returns whether no node is left, values or not.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.here.is_none()
            && self.below.is_none()
    }

    fn edit(&mut self, mut levels: Split<'_, char>, edit: impl FnOnce(&mut Option<T>)) {
        match levels.next() {
            None => edit(&mut self.here),
            Some("#") => edit(&mut self.below),
            Some("+") => {
                if let Some(plus) = &mut self.plus {
                    plus.edit(levels, edit);
                    if plus.is_empty() {
                        self.plus = None;
                    }
                }
            }
            Some(name) => {
                if let Some(child) = self.children.get_mut(name) {
                    child.edit(levels, edit);
                    if child.is_empty() {
                        self.children.remove(name);
                    }
                }
            }
        }
    }

    /// `hidden`: this is the root and the topic starts with `$`, which wildcards do not match
    /// here (MQTT-4.7.2-1).
    fn visit(&mut self, mut levels: Split<'_, char>, hidden: bool, found: &mut dyn FnMut(&mut T)) {
        #[cfg(test)]
        STEPS.set(STEPS.get() + 1);
        if let Some(below) = &mut self.below
            && !hidden
        {
            found(below);
        }
        let Some(level) = levels.next() else {
            if let Some(here) = &mut self.here {
                found(here);
            }
            return;
        };
        if let Some(child) = self.children.get_mut(level) {
            child.visit(levels.clone(), false, found);
        }
        if let Some(plus) = &mut self.plus
            && !hidden
        {
            plus.visit(levels, false, found);
        }
    }

    fn matches(&self, mut levels: Split<'_, char>, hidden: bool) -> bool {
        if self.below.is_some() && !hidden {
            return true;
        }
        let Some(level) = levels.next() else {
            return self.here.is_some();
        };
        let child = self.children.get(level);
        if child.is_some_and(|child| child.matches(levels.clone(), false)) {
            return true;
        }
        let plus = self.plus.as_ref().filter(|_| !hidden);
        plus.is_some_and(|plus| plus.matches(levels, false))
    }
}
