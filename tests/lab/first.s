# The first program of guests that are measured: it says that it runs, by an instruction that leaves
# the guest and that KVM's trace shows with its operand; then it resets the machine, or waits for ever
# if the kernel's command line has a word for it.

        .globl  _start
_start: mov     $0x6b737568, %eax       # a leaf of CPUID that nobody else asks for: "husk"
        cpuid
        cmpq    $1, (%rsp)              # argc
        ja      idle
        mov     $169, %eax              # reboot(2)
        mov     $0xfee1dead, %edi
        mov     $0x28121969, %esi
        mov     $0x01234567, %edx       # LINUX_REBOOT_CMD_RESTART
        syscall
idle:   mov     $34, %eax               # pause(2)
        syscall
        jmp     idle
