/*
 * mark.h - how `stint doctor` finds out of which version the library in a program is: this text is in it, with the
 * version behind.
 */
#ifndef STINT_MARK_H
#define STINT_MARK_H

#define MARK             "@(#)libstint "
#define MARK_VERSION_MAX 32 /* bytes of a version, with its NUL */

#endif
