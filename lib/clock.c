/*
 * clock.c - the shortcut to the coarse clock.
 *
 * The kernel's code that reads it is in every process: in the vDSO, an object that the kernel has loaded there.
 * clock_gettime() of the C library calls that code, and takes a third of the time for itself.
 */
#include <dlfcn.h>
#include <stddef.h>

#include "clock.h"

/* Programs that are linked statically lack these, and with C libraries of before 2021 some others do. */
#pragma weak dlopen
#pragma weak dlsym

_Atomic(clock_function *) clock_read_coarse = clock_gettime;

/* Of other processors than x86-64, and under valgrind, the names are unknown, and nothing changes. */
void clock_find_shortcut(void) {
	void *vdso = dlopen && dlsym ? dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD) : NULL;
	clock_function *found = NULL;
	if (vdso)
		*(void **)&found = dlsym(vdso, "__vdso_clock_gettime");
	if (found)
		atomic_store_explicit(&clock_read_coarse, found, memory_order_relaxed);
}
