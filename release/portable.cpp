// libstdc++ asks the C library whether there is one thread only, by a name that glibc has since 2.32. The answer "there
// may be more" is always right.
extern "C" {
extern __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
}
