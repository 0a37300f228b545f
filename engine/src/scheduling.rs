//! How soon the kernel lets a worker run once it is woken: the little that everybody may ask for.

use std::io;
use std::mem::size_of;

/// The shortest slice that Linux takes.
const SLICE_NS: u64 = 100_000;

/// Ask that the calling thread be given processors in short slices: its share stays what it was, but when it wakes up
/// it is let in before threads that want longer ones, instead of up to several milliseconds later (Linux 6.12 and
/// newer; earlier kernels take no notice). Longer slices are cheaper, so this is for threads that must be on time.
pub fn ask_for_short_slices() -> io::Result<()> {
    let mut attributes = attributes()?;
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: the kernel reads `size` bytes of a struct that is as large; 0 is the calling thread.
    succeeded(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Policy, nice value and slice of the calling thread.
fn attributes() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: plain numbers, for all of which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, and the struct is as large.
    succeeded(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    Ok(attributes)
}

fn succeeded(returned: libc::c_long) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_slice_changes() {
        let before = attributes().unwrap();
        ask_for_short_slices().unwrap();
        let after = attributes().unwrap();
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        // Kernels that know no slices leave it as it was.
        assert!(after.sched_runtime == SLICE_NS || after.sched_runtime == before.sched_runtime);
    }
}
