# Where `make install` puts the module for Node.js. The addon has the library in it: the folder needs nothing beside it.
#
# NODE_MODULESDIR: by default the first of the folders below $(PREFIX)/lib that node looks into (Debian's: $(PREFIX)/lib/TRIPLET/nodejs);
# if there is none, $(LIBDIR)/node_modules. NODE_MODULESDIR= leaves the module out.

find_node_modules = '$(or $(NODE),node)' -p 'require("module").globalPaths.find((path) => path.startsWith("$(PREFIX)/lib/")) || ""' 2>/dev/null
NODE_MODULESDIR ?= $(or $(shell $(find_node_modules)),$(LIBDIR)/node_modules)

node_module = $(wildcard lib/node/*.js lib/node/*.mjs lib/node/*.d.ts) lib/node/package.json lib/node/README.md
node_target = $(DESTDIR)$(NODE_MODULESDIR)/stint

# Not where it couldn't be built, or is left out.
INSTALL_NODE = $(if $(and $(wildcard $(BUILD)/stint.node),$(NODE_MODULESDIR)),install -d '$(node_target)/native' && \
	install -m 644 $(node_module) '$(node_target)' && install -m 755 $(BUILD)/stint.node '$(node_target)/native',:)
UNINSTALL_NODE = $(if $(NODE_MODULESDIR),rm -rf '$(node_target)',:)
