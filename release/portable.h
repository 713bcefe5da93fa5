// Names the oldest versions of two functions of the C library, which all systems since glibc 2.28 have.
__asm__(".symver exp,exp@GLIBC_2.2.5");
__asm__(".symver log,log@GLIBC_2.2.5");
