//! The seccomp filter (seccomp(2)): a program in the kernel's own small language that looks at each system call's number,
//! and at the first argument of a few.
//!
//! The kernel remembers which numbers are always allowed (since 5.11), so these cost nothing; for older ones the numbers
//! are searched by halves.

use std::io;

use super::calls::{self, Calls};

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Places in `struct seccomp_data`; of an argument the half with the low bits (both machines are little-endian).
const NUMBER_AT: u32 = 0;
const MACHINE_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;
const SECOND_ARGUMENT_AT: u32 = 24;

#[cfg(target_arch = "x86_64")]
const MACHINE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const MACHINE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: Option<u32> = None;

/// Numbers from here on are calls of x86's third form (x32), which nothing of ours uses.
#[cfg(target_arch = "x86_64")]
const OTHER_FORMS: Option<u32> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const OTHER_FORMS: Option<u32> = None;

/// Input that a terminal would take as typed.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

fn refuse(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (error.unsigned_abs() & libc::SECCOMP_RET_DATA)
}

/// Whether the kernel filters system calls, for this machine.
pub(super) fn is_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number, which lives as long as the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0u32, std::ptr::from_ref(&action)) };
    MACHINE.is_some() && answer == 0
}

/// Filters this process's system calls from here on; false where the kernel cannot.
pub(super) fn enter(kept: &Calls) -> io::Result<bool> {
    let Some(machine) = MACHINE else { return Ok(false) };
    if !is_available() {
        return Ok(false);
    }
    let mut code = program(kept, machine);
    let length = u16::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: code.as_mut_ptr() };
    // Without the second flag older kernels slow the whole process down against speculation (spec_store_bypass).
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `program` points at `length` instructions, which live as long as the call; the kernel only reads them.
    let outcome =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    if outcome == 0 { Ok(true) } else { Err(io::Error::last_os_error()) }
}

fn step(code: u16, k: u32, if_true: u8, if_false: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt: if_true, jf: if_false, k }
}

fn give(verdict: u32) -> libc::sock_filter {
    step(RETURN, verdict, 0, 0)
}

/// The whole filter.
fn program(kept: &Calls, machine: u32) -> Vec<libc::sock_filter> {
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let allow = libc::SECCOMP_RET_ALLOW;
    let denied = refuse(libc::EPERM);
    let mut code =
        vec![step(LOAD, MACHINE_AT, 0, 0), step(IF_EQUAL, machine, 1, 0), give(denied), step(LOAD, NUMBER_AT, 0, 0)];
    if let Some(first) = OTHER_FORMS {
        code.extend([step(IF_AT_LEAST, first, 0, 1), give(denied)]);
    }
    // The C library asks whether the kernel knows a newer call, and has another way when it does not.
    code.extend([step(IF_GREATER, calls::NEWEST, 0, 1), give(refuse(libc::ENOSYS))]);
    code.extend([step(IF_EQUAL, number(libc::SYS_clone3), 0, 1), give(refuse(libc::ENOSYS))]);

    // Threads, but no processes.
    code.extend([
        step(IF_EQUAL, number(libc::SYS_clone), 0, 4),
        step(LOAD, FIRST_ARGUMENT_AT, 0, 0),
        step(IF_SET, libc::CLONE_THREAD.unsigned_abs(), 0, 1),
        give(allow),
        give(denied),
    ]);
    // Signals to this process only.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        code.extend([
            step(IF_EQUAL, number(call), 0, 4),
            step(LOAD, FIRST_ARGUMENT_AT, 0, 0),
            step(IF_EQUAL, std::process::id(), 0, 1),
            give(allow),
            give(denied),
        ]);
    }
    code.extend([
        step(IF_EQUAL, number(libc::SYS_ioctl), 0, 5),
        step(LOAD, SECOND_ARGUMENT_AT, 0, 0),
        step(IF_EQUAL, TERMINAL_INPUT[0], 2, 0),
        step(IF_EQUAL, TERMINAL_INPUT[1], 1, 0),
        give(allow),
        give(denied),
    ]);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let families = kept.families();
        let count = u8::try_from(families.len()).unwrap_or(0);
        code.push(step(IF_EQUAL, number(call), 0, count + 3));
        code.push(step(LOAD, FIRST_ARGUMENT_AT, 0, 0));
        for (index, family) in (0u8..).zip(&families) {
            code.push(step(IF_EQUAL, family.unsigned_abs(), count - index, 0));
        }
        code.push(give(refuse(libc::EAFNOSUPPORT)));
        code.push(give(allow));
    }
    search(&ranges(kept.numbers()), denied, &mut code);
    code
}

/// Numbers that follow each other, first and last.
fn ranges(mut numbers: Vec<u32>) -> Vec<(u32, u32)> {
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Is the number in one of `ranges`?
fn search(ranges: &[(u32, u32)], denied: u32, code: &mut Vec<libc::sock_filter>) {
    match ranges {
        [] => code.push(give(denied)),
        [(first, last)] => code.extend([
            step(IF_AT_LEAST, *first, 0, 1),
            step(IF_GREATER, *last, 0, 1),
            give(denied),
            give(libc::SECCOMP_RET_ALLOW),
        ]),
        more => {
            let (low, high) = more.split_at(more.len() / 2);
            let mut left = Vec::new();
            search(low, denied, &mut left);
            // Conditional jumps reach 255 steps, others as far as need be.
            code.push(step(IF_AT_LEAST, high[0].0, 0, 1));
            code.push(step(JUMP, u32::try_from(left.len()).unwrap_or(u32::MAX), 0, 0));
            code.append(&mut left);
            search(high, denied, code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with the program.
    fn run(code: &[libc::sock_filter], number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let now = code[at];
            at += 1;
            let holds = match now.code {
                LOAD => {
                    value = match now.k {
                        NUMBER_AT => number,
                        MACHINE_AT => MACHINE.expect("a machine"),
                        FIRST_ARGUMENT_AT => arguments[0],
                        SECOND_ARGUMENT_AT => arguments[1],
                        other => panic!("{other}"),
                    };
                    continue;
                }
                JUMP => {
                    at += now.k as usize;
                    continue;
                }
                RETURN => return now.k,
                IF_EQUAL => value == now.k,
                IF_GREATER => value > now.k,
                IF_AT_LEAST => value >= now.k,
                IF_SET => value & now.k != 0,
                other => panic!("{other}"),
            };
            at += usize::from(if holds { now.jt } else { now.jf });
        }
    }

    #[test]
    fn every_number_gets_its_verdict() {
        let Some(machine) = MACHINE else { return };
        let (allow, denied) = (libc::SECCOMP_RET_ALLOW, refuse(libc::EPERM));
        for (writes, internet) in [(false, false), (true, false), (false, true), (true, true)] {
            let kept = Calls { writes, internet };
            let code = program(&kept, machine);
            assert!(code.len() < 4096, "{}", code.len());
            let numbers = kept.numbers();
            let by_argument = [
                libc::SYS_clone,
                libc::SYS_clone3,
                libc::SYS_kill,
                libc::SYS_tgkill,
                libc::SYS_ioctl,
                libc::SYS_socket,
                libc::SYS_socketpair,
            ];
            for number in 0..calls::NEWEST {
                if !by_argument.contains(&libc::c_long::from(number)) {
                    let wanted = if numbers.contains(&number) { allow } else { denied };
                    assert_eq!(run(&code, number, [0, 0]), wanted, "call {number}");
                }
            }
            assert_eq!(run(&code, calls::NEWEST + 1, [0, 0]), refuse(libc::ENOSYS));
            let me = std::process::id();
            let cases = [
                (libc::SYS_clone, [libc::CLONE_THREAD as u32, 0], allow),
                (libc::SYS_clone, [libc::SIGCHLD as u32, 0], denied),
                (libc::SYS_clone3, [0, 0], refuse(libc::ENOSYS)),
                (libc::SYS_kill, [me, 0], allow),
                (libc::SYS_kill, [1, 0], denied),
                (libc::SYS_tgkill, [me + 1, 0], denied),
                (libc::SYS_ioctl, [0, libc::FIONBIO as u32], allow),
                (libc::SYS_ioctl, [0, TERMINAL_INPUT[0]], denied),
                (libc::SYS_ioctl, [0, TERMINAL_INPUT[1]], denied),
                (libc::SYS_socket, [libc::AF_UNIX as u32, 0], allow),
                (libc::SYS_socketpair, [libc::AF_UNIX as u32, 0], allow),
                (libc::SYS_socket, [libc::AF_PACKET as u32, 0], refuse(libc::EAFNOSUPPORT)),
                (
                    libc::SYS_socket,
                    [libc::AF_INET as u32, 0],
                    if internet { allow } else { refuse(libc::EAFNOSUPPORT) },
                ),
                (
                    libc::SYS_socket,
                    [libc::AF_INET6 as u32, 0],
                    if internet { allow } else { refuse(libc::EAFNOSUPPORT) },
                ),
                (libc::SYS_execve, [0, 0], denied),
                (libc::SYS_ptrace, [0, 0], denied),
                (libc::SYS_setuid, [0, 0], denied),
                (libc::SYS_unlinkat, [0, 0], if writes { allow } else { denied }),
            ];
            for (call, arguments, wanted) in cases {
                assert_eq!(run(&code, call as u32, arguments), wanted, "call {call} {arguments:?} {kept:?}");
            }
        }
    }
}
