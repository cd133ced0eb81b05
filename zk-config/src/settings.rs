//! The settings in the node `config`.

use model::units::Moment;

/// The node with the settings, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNode {
    /// What is in it, whatever that is: nobody but the reader says whether these are settings.
    pub text: Vec<u8>,
    /// How often it was written since it was created. The first is 0.
    pub version: i32,
    /// What created it: another number where it was deleted and created again.
    pub czxid: i64,
    /// What wrote it last. Greater in every later version.
    pub mzxid: i64,
    /// When it was written, by the clock of ZooKeeper.
    pub modified_at: Moment,
}

/// Which version is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What created the node.
    pub czxid: i64,
    /// How often it was written since.
    pub version: i32,
}

/// What a watch over the settings sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsSeen {
    /// They are there.
    Node(ConfigNode),
    /// There is no such node.
    Missing,
    /// They can't be read, and why: mostly an access list.
    Unreadable(String),
}

impl ConfigNode {
    /// What to hand to [`write_settings`](crate::ZooKeeper::write_settings), so that nothing newer is overwritten.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected { czxid: self.czxid, version: self.version }
    }
}
