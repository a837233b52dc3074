//! Whether this process may use AMX: the processor has it, the system saves its registers, and
//! this process was granted them.

#![expect(
    unsafe_code,
    reason = "instructions that ask the processor and the system"
)]

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Asks once.
pub(super) fn granted() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| has_tiles() && saves_tiles() && system_grants())
}

/// AMX-TILE and AMX-BF16: leaf 7, EDX bits 24 and 22 (Intel SDM, volume 2, CPUID).
fn has_tiles() -> bool {
    let leaves = __cpuid(0).eax;
    leaves >= 7 && {
        let bits = 1 << 24 | 1 << 22;
        __cpuid_count(7, 0).edx & bits == bits
    }
}

/// Bits 17 and 18 of XCR0: the system saves tiles and their configuration.
fn saves_tiles() -> bool {
    #[target_feature(enable = "xsave")]
    fn enabled() -> u64 {
        // SAFETY: OSXSAVE was seen by the caller.
        unsafe { _xgetbv(0) }
    }
    let osxsave = __cpuid(1).ecx & 1 << 27 != 0;
    let bits = 1 << 17 | 1 << 18;
    // SAFETY: OSXSAVE says that the instruction is there.
    osxsave && unsafe { enabled() } & bits == bits
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, see Linux' `Documentation/arch/x86/xstate.rst`.
#[cfg(target_os = "linux")]
fn system_grants() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: usize;
    // SAFETY: this call reads and writes no memory of ours.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack, nomem),
        );
    }
    result == 0
}

/// No other system is known to grant them.
#[cfg(not(target_os = "linux"))]
fn system_grants() -> bool {
    false
}
