/* other_layout.h - included before all else: the table of another version. */
#include "../../lib/protocol/layout.h"

#undef LAYOUT_VERSION
#define LAYOUT_VERSION 77u
