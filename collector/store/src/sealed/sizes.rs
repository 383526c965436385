//! What takes the room in sealed files: column by column.

use super::Sealer;
use super::read::Open;
use crate::StoreError;

/// What one column takes in all sealed files together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ColumnSize {
    /// Its name; empty: what belongs to no column (footers and indexes).
    pub name: String,
    /// Its pages, as they lie on disk, in bytes.
    pub pages: u64,
    /// Its pages before compression, in bytes.
    pub plain: u64,
    /// Its filters, in bytes.
    pub filters: u64,
}

impl Sealer {
    /// What each column takes, the largest first.
    pub fn column_sizes(&self) -> Result<Vec<ColumnSize>, StoreError> {
        let mut sizes: Vec<ColumnSize> = Vec::new();
        let mut in_columns = 0_u64;
        for file in &self.files {
            let open = Open::new(file)?;
            for one in open.column_sizes() {
                in_columns = in_columns.saturating_add(one.pages.saturating_add(one.filters));
                match sizes.iter_mut().find(|size| size.name == one.name) {
                    Some(size) => size.add(&one),
                    None => sizes.push(one),
                }
            }
        }
        sizes.push(ColumnSize {
            pages: self.sealed_bytes().saturating_sub(in_columns),
            ..ColumnSize::default()
        });
        sizes.sort_by_key(|size| std::cmp::Reverse(size.pages.saturating_add(size.filters)));
        Ok(sizes)
    }
}

impl ColumnSize {
    fn add(&mut self, other: &Self) {
        self.pages = self.pages.saturating_add(other.pages);
        self.plain = self.plain.saturating_add(other.plain);
        self.filters = self.filters.saturating_add(other.filters);
    }
}
