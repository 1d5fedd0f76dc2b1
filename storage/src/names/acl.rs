//! POSIX access control lists, as Linux keeps them in extended attributes.
//!
//! Owns: `Acl`, the two names under which it is kept, and what creation and chmod do to one. Must be true: ACL-1 a list that is kept is
//! valid and says more than permission bits can; ACL-2 the permission bits of an inode and its access list agree: owner, others, and the
//! mask as the bits of the group. Fails: bytes that are no valid list are refused as Linux refuses them.
//!
//! Source: `fs/posix_acl.c` and `include/uapi/linux/posix_acl_xattr.h` of Linux, after POSIX 1003.1e draft 17.

use crate::refusal::Refusal;
use crate::wire::{Put, Reader};

/// The name under which the list of who may use an inode is kept.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The name under which a directory keeps the list that what is made in it gets.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_BYTES: usize = 8;
/// The id of entries that name nobody.
const NOBODY: u32 = u32::MAX;

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Others = 0x20,
}

impl Tag {
    fn of(number: u16) -> Option<Self> {
        [Self::Owner, Self::User, Self::OwningGroup, Self::Group, Self::Mask, Self::Others].into_iter().find(|tag| *tag as u16 == number)
    }

    fn names_somebody(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclEntry {
    pub tag: Tag,
    /// Three bits: read 4, write 2, execute 1.
    pub permissions: u16,
    /// Of the user or group that is named.
    pub id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<AclEntry>);

impl Acl {
    /// Reads the value of an attribute; `None` for a list without entries, which takes the list away.
    ///
    /// # Errors
    /// `NotSupported` for another version than 2, `Invalid` for what is no valid list.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Refusal> {
        let mut reader = Reader::new(bytes);
        match reader.u32() {
            Some(VERSION) => {}
            Some(_) => return Err(Refusal::NotSupported),
            None => return Err(Refusal::Invalid),
        }
        let entries = reader.rest().chunks(ENTRY_BYTES).map(decode_entry).collect::<Option<Vec<_>>>().ok_or(Refusal::Invalid)?;
        if entries.is_empty() {
            return Ok(None);
        }
        if is_valid(&entries) { Ok(Some(Self(entries))) } else { Err(Refusal::Invalid) }
    }

    /// The value of the attribute.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.0.len() * ENTRY_BYTES);
        out.put_u32(VERSION);
        for entry in &self.0 {
            out.put_u16(entry.tag as u16);
            out.put_u16(entry.permissions);
            out.put_u32(entry.id);
        }
        out
    }

    /// The entries, in the order in which Linux keeps them.
    #[must_use]
    pub fn entries(&self) -> &[AclEntry] {
        &self.0
    }

    /// The nine permission bits that stand for the list (`posix_acl_equiv_mode`).
    #[must_use]
    pub fn permissions(&self) -> u32 {
        let group = if self.has_mask() { Tag::Mask } else { Tag::OwningGroup };
        let of = |tag| self.0.iter().find(|entry| entry.tag == tag).map_or(0, |entry| u32::from(entry.permissions));
        of(Tag::Owner) << 6 | of(group) << 3 | of(Tag::Others)
    }

    /// Whether permission bits say as much.
    #[must_use]
    pub fn is_minimal(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, Tag::Owner | Tag::OwningGroup | Tag::Others))
    }

    /// Brings the list up to new permission bits (`__posix_acl_chmod_masq`).
    pub fn set_permissions(&mut self, permissions: u32) {
        self.change_bits(|_, bits| bits, permissions);
    }

    /// What a new inode gets of the default list of its directory, when it is made with `mode`: the permission bits, and its access list
    /// if that says more (`posix_acl_create_masq`).
    #[must_use]
    pub fn inherited(&self, mode: u32) -> (u32, Option<Self>) {
        let mut list = self.clone();
        list.change_bits(|allowed, asked| allowed & asked, mode);
        (list.permissions(), Some(list).filter(|list| !list.is_minimal()))
    }

    /// Sets the three entries that permission bits stand for, to what `join` makes of an entry and its bits.
    fn change_bits(&mut self, join: impl Fn(u16, u16) -> u16, permissions: u32) {
        let group = if self.has_mask() { Tag::Mask } else { Tag::OwningGroup };
        for entry in &mut self.0 {
            let shift = match entry.tag {
                Tag::Owner => 6,
                Tag::Others => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.permissions = join(entry.permissions, (permissions >> shift & 7) as u16);
        }
    }

    fn has_mask(&self) -> bool {
        self.0.iter().any(|entry| entry.tag == Tag::Mask)
    }
}

fn decode_entry(bytes: &[u8]) -> Option<AclEntry> {
    let mut reader = Reader::new(bytes);
    let (tag, permissions, id) = (Tag::of(reader.u16()?)?, reader.u16()?, reader.u32()?);
    Some(AclEntry { tag, permissions, id: if tag.names_somebody() { id } else { NOBODY } })
}

/// Each of owner, owning group and others once, in the order of their tags; a mask once at most, and wherever somebody is named
/// (`posix_acl_valid`).
fn is_valid(entries: &[AclEntry]) -> bool {
    let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
    let names_somebody = entries.iter().any(|entry| entry.tag.names_somebody());
    entries.iter().all(|entry| entry.permissions <= 7 && !(entry.tag.names_somebody() && entry.id == NOBODY))
        && entries.is_sorted_by_key(|entry| entry.tag)
        && [Tag::Owner, Tag::OwningGroup, Tag::Others].into_iter().all(|tag| count(tag) == 1)
        && count(Tag::Mask) <= 1
        && (count(Tag::Mask) == 1 || !names_somebody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(entries: &[(Tag, u16, u32)]) -> Vec<u8> {
        Acl(entries.iter().map(|&(tag, permissions, id)| AclEntry { tag, permissions, id }).collect()).encode()
    }

    /// `setfacl -m u:5:rwx,g:6:r` of a file of mode 640.
    fn usual() -> Vec<u8> {
        list(&[
            (Tag::Owner, 6, NOBODY),
            (Tag::User, 7, 5),
            (Tag::OwningGroup, 4, NOBODY),
            (Tag::Group, 4, 6),
            (Tag::Mask, 7, NOBODY),
            (Tag::Others, 0, NOBODY),
        ])
    }

    #[test]
    fn a_list_is_what_linux_writes_and_its_mask_is_the_group_of_the_mode() {
        let bytes = usual();
        assert_eq!(&bytes[..20], [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 5, 0, 0, 0]);
        let mut acl = Acl::decode(&bytes).unwrap().unwrap();
        assert_eq!((acl.encode(), acl.permissions(), acl.is_minimal()), (bytes, 0o670, false));
        acl.set_permissions(0o751);
        assert_eq!(acl.permissions(), 0o751);
        assert_eq!(acl.entries()[2].permissions, 4, "the owning group keeps what it has behind the mask");
    }

    #[test]
    fn what_is_no_list_is_refused_as_linux_refuses_it() {
        let (owner, group, others) = ((Tag::Owner, 6, NOBODY), (Tag::OwningGroup, 4, NOBODY), (Tag::Others, 0, NOBODY));
        let (user, mask) = ((Tag::User, 7, 5), (Tag::Mask, 7, NOBODY));
        let invalid: [&[(Tag, u16, u32)]; 8] = [
            &[owner, group],
            &[owner, owner, group, others],
            &[group, owner, others],
            &[owner, user, group, others],
            &[owner, group, mask, mask, others],
            &[owner, group, others, mask],
            &[owner, group, (Tag::Others, 8, NOBODY)],
            &[owner, (Tag::User, 7, NOBODY), group, mask, others],
        ];
        for entries in invalid {
            assert_eq!(Acl::decode(&list(entries)), Err(Refusal::Invalid), "{entries:?}");
        }
        assert_eq!(Acl::decode(&list(&[])), Ok(None));
        assert_eq!(Acl::decode(&[1, 0, 0, 0]), Err(Refusal::NotSupported));
        for cut in [0, 3, 5, 11] {
            assert_eq!(Acl::decode(&usual()[..cut]), Err(Refusal::Invalid), "{cut} bytes");
        }
        assert_eq!(Acl::decode(&[2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]), Err(Refusal::Invalid), "nobody has tag 3");
    }

    #[test]
    fn what_is_made_in_a_directory_gets_its_default_list_within_what_was_asked_for() {
        let default = Acl::decode(&usual()).unwrap().unwrap();
        let (permissions, access) = default.inherited(0o644);
        let access = access.unwrap();
        assert_eq!(permissions, 0o640);
        assert_eq!(access.permissions(), 0o640, "ACL-2");
        assert_eq!(access.entries()[1].permissions, 7, "who is named is held back by the mask alone");
        let plain = list(&[(Tag::Owner, 7, NOBODY), (Tag::OwningGroup, 5, NOBODY), (Tag::Others, 5, NOBODY)]);
        assert_eq!(Acl::decode(&plain).unwrap().unwrap().inherited(0o666), (0o644, None), "bits alone say it");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list_that_is_written_the_same_or_are_refused(bytes in proptest::collection::vec(0u8..40, 0..60)) {
            if let Ok(Some(acl)) = Acl::decode(&bytes) {
                let again = Acl::decode(&acl.encode()).unwrap().unwrap();
                prop_assert_eq!(again, acl);
            }
        }
    }
}
