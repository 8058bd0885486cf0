//! Tables that copies of a state share until one of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A sorted table. A copy costs nothing; the first change of a shared one copies its keys, and of its
/// values only the one that changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table<K, V>(Arc<BTreeMap<K, Arc<V>>>);

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Arc::new(BTreeMap::new()))
    }
}

impl<K, V> From<BTreeMap<K, Arc<V>>> for Table<K, V> {
    fn from(rows: BTreeMap<K, Arc<V>>) -> Self {
        Self(Arc::new(rows))
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(|value| &**value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        Arc::make_mut(&mut self.0).get_mut(key).map(Arc::make_mut)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        Arc::make_mut(&mut self.0).insert(key, Arc::new(value));
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, &**value))
    }

    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.values().map(|value| &**value)
    }

    /// Keeps the rows that `keep` says yes to, changed as it will. It touches every row.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        Arc::make_mut(&mut self.0).retain(|_, value| keep(Arc::make_mut(value)));
    }

    /// A table with these of the rows, shared with this one.
    pub(super) fn only<'a>(&self, keys: impl IntoIterator<Item = &'a K>) -> Self
    where
        K: 'a,
    {
        let rows = keys.into_iter().filter_map(|key| self.0.get_key_value(key));
        Self(Arc::new(rows.map(|(key, value)| (key.clone(), Arc::clone(value))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_changes_later() {
        let mut table = Table::default();
        table.insert(1, "one".to_owned());
        table.insert(2, "two".to_owned());
        let copy = table.clone();
        let part = table.only([&2, &3]);
        table.get_mut(&2).unwrap().push('!');
        table.insert(3, "three".to_owned());
        assert_eq!(table.values().collect::<Vec<_>>(), ["one", "two!", "three"]);
        assert_eq!(copy.values().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(part.iter().collect::<Vec<_>>(), [(&2, &"two".to_owned())]);
    }
}
