//! Netlink's attributes: length, type and value, padded to four bytes. The value of a nested one is attributes
//! again. Numbers in nf_tables' attributes are big endian.

/// Marks an attribute whose value is attributes.
const NESTED: u16 = 0x8000;
/// What of the type is the type; the rest are marks.
const TYPE: u16 = 0x3fff;
/// Length and type.
const HEADER: usize = 4;

/// Writes attributes at the end of some bytes.
pub(super) struct Attributes<'a>(pub(super) &'a mut Vec<u8>);

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.enclose(kind, |inner| inner.0.extend_from_slice(value));
    }

    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Text, with the zero byte that the kernel wants behind it.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.enclose(kind, |inner| {
            inner.0.extend_from_slice(value.as_bytes());
            inner.0.push(0);
        });
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.enclose(kind | NESTED, fill);
    }

    fn enclose(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; HEADER]);
        fill(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len() - start).expect("lists are cut far below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + HEADER].copy_from_slice(&kind.to_ne_bytes());
        let padded = start + usize::from(length).next_multiple_of(4);
        self.0.resize(padded, 0);
    }
}

/// One attribute as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u16,
    pub(super) nested: bool,
    pub(super) value: &'a [u8],
}

impl Attribute<'_> {
    pub(super) fn to_u32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn to_u64(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// The text without its zero byte, if it is UTF-8.
    pub(super) fn is_text(self, text: &str) -> bool {
        self.value.strip_suffix(&[0]).unwrap_or(self.value) == text.as_bytes()
    }
}

/// The attributes in some bytes, up to the first that isn't whole.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> + Clone {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..HEADER)?.try_into().ok()?);
        let value = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & TYPE, nested: kind & NESTED != 0, value })
    })
}

/// The value of the first attribute of a type.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<Attribute<'_>> {
    read(bytes).find(|attribute| attribute.kind == kind)
}

/// Whether `actual` says all that `expected` says. It may say more (handles, counts), but no more attributes of
/// a type that `expected` has: a list is the same or isn't.
pub(super) fn covers(expected: &[u8], actual: &[u8]) -> bool {
    let count = |bytes, kind| read(bytes).filter(|a| a.kind == kind).count();
    read(expected).enumerate().all(|(at, wanted)| {
        let before = read(expected).take(at).filter(|a| a.kind == wanted.kind).count();
        count(expected, wanted.kind) == count(actual, wanted.kind)
            && read(actual).filter(|a| a.kind == wanted.kind).nth(before).is_some_and(|found| {
                if wanted.nested { covers(wanted.value, found.value) } else { wanted.value == found.value }
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(u16, Vec<u8>),
        Branch(u16, Vec<Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf =
            (1u16..20, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(k, v)| Tree::Leaf(k, v));
        leaf.prop_recursive(4, 40, 5, |inner| {
            (1u16..20, proptest::collection::vec(inner, 0..5)).prop_map(|(k, v)| Tree::Branch(k, v))
        })
    }

    fn write(tree: &Tree, to: &mut Attributes<'_>) {
        match tree {
            Tree::Leaf(kind, value) => to.bytes(*kind, value),
            Tree::Branch(kind, inner) => to.nest(*kind, |to| inner.iter().for_each(|t| write(t, to))),
        }
    }

    fn same(tree: &[Tree], bytes: &[u8]) -> bool {
        read(bytes).count() == tree.len()
            && tree.iter().zip(read(bytes)).all(|(tree, found)| match tree {
                Tree::Leaf(kind, value) => !found.nested && found.kind == *kind && found.value == value,
                Tree::Branch(kind, inner) => found.nested && found.kind == *kind && same(inner, found.value),
            })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(trees in proptest::collection::vec(tree(), 0..6)) {
            let mut bytes = Vec::new();
            trees.iter().for_each(|t| write(t, &mut Attributes(&mut bytes)));
            prop_assert_eq!(bytes.len() % 4, 0);
            prop_assert!(same(&trees, &bytes));
            prop_assert!(covers(&bytes, &bytes));
        }

        #[test]
        fn nothing_read_panics_or_never_ends(left: Vec<u8>, right: Vec<u8>) {
            prop_assert!(read(&left).count() <= left.len());
            covers(&left, &right);
        }
    }

    #[test]
    fn covers_allows_more_but_nothing_else() {
        let write = |fill: &dyn Fn(&mut Attributes<'_>)| {
            let mut bytes = Vec::new();
            fill(&mut Attributes(&mut bytes));
            bytes
        };
        let expected = write(&|a| {
            a.text(1, "name");
            a.nest(2, |a| a.u32(1, 7));
        });
        let more = write(&|a| {
            a.u64(9, 1);
            a.nest(2, |a| {
                a.u32(5, 5);
                a.u32(1, 7);
            });
            a.text(1, "name");
        });
        let other = write(&|a| {
            a.text(1, "name");
            a.nest(2, |a| a.u32(1, 8));
        });
        let twice = write(&|a| {
            a.text(1, "name");
            a.nest(2, |a| {
                a.u32(1, 7);
                a.u32(1, 7);
            });
        });
        assert!(covers(&expected, &more));
        assert!(!covers(&expected, &other));
        assert!(!covers(&expected, &twice));
        assert!(!covers(&expected, &[]));
    }
}
