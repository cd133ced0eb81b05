//! Files that are read whole, up to a size, and written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// A longer file isn't read: 16 MiB of settings are half a million addresses.
pub const LONGEST: u64 = 16 << 20;

/// A file's bytes. A pipe or a device is refused, for reading one could wait for ever.
///
/// # Errors
/// Where it isn't there, is no plain file, is too long, or can't be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of open are an int");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let too_long = || io::Error::other("it is longer than 16 MiB, so it is something else");
    if metadata.len() > LONGEST {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST { Err(too_long()) } else { Ok(bytes) }
}

/// Replaces a file, whenever the machine stops. One that is there keeps its mode and, where we may set them, its
/// owner and group; a new one gets `mode`.
///
/// # Errors
/// Whatever the system says. The file is as it was then.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::Builder::new().prefix(".ccfirewall-").tempfile_in(folder)?;
    new.write_all(bytes)?;
    match std::fs::metadata(path) {
        Ok(old) => {
            use std::os::unix::fs::MetadataExt as _;
            // Only root may give files away; whoever else may replace it becomes its owner.
            let _ = std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid()));
            new.as_file().set_permissions(old.permissions())?;
        }
        Err(_) => new.as_file().set_permissions(Permissions::from_mode(mode))?,
    }
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
