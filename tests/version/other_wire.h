/* other_wire.h - included before all else: the messages of another version. */
#include "../../lib/protocol/wire.h"

#undef WIRE_VERSION
#define WIRE_VERSION 77u
