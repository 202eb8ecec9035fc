# The Python module. Its headers come with the package python3-dev; without them it is left out. The library is linked into it, and it is
# for the limited API: one build for all of Python 3.10 and later.

PYTHON_EXTENSION := \
	lib/python/extension/alone.c \
	lib/python/extension/arguments.c \
	lib/python/extension/attachment.c \
	lib/python/extension/check.c \
	lib/python/extension/check_all.c \
	lib/python/extension/errors.c \
	lib/python/extension/http.c \
	lib/python/extension/limiter.c \
	lib/python/extension/module.c \
	lib/python/extension/result.c \
	lib/python/extension/state.c \
	lib/python/extension/waiting.c

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYTHON_MODULE := $(BUILD)/python/_stint.abi3.so

python_objects = $(PYTHON_EXTENSION:%.c=$(BUILD)/%.o)
python_headers := $(shell $(PKG_CONFIG) --atleast-version=3.10 python3 2>/dev/null && $(PKG_CONFIG) --cflags python3)

# PYTHONDIR, where `make install` puts the module: the first of the folders below $(PREFIX)/lib that $(PYTHON) looks into. PYTHONDIR= leaves
# the module out.
find_python_folder = $(PYTHON) -c 'import site; print(next((d for d in site.getsitepackages() if d.startswith("$(PREFIX)/lib")), ""))' \
	2>/dev/null
PYTHONDIR ?= $(or $(shell $(find_python_folder)),$(LIBDIR)/python3/dist-packages)
python_files = $(PYTHON_MODULE) $(wildcard lib/python/stint/*.py lib/python/stint/*.pyi) lib/python/stint/py.typed
INSTALL_PYTHON = $(if $(and $(wildcard $(PYTHON_MODULE)),$(PYTHONDIR)),install -d '$(DESTDIR)$(PYTHONDIR)/stint' && \
	install -m 644 $(python_files) '$(DESTDIR)$(PYTHONDIR)/stint',:)
UNINSTALL_PYTHON = $(if $(PYTHONDIR),rm -rf '$(DESTDIR)$(PYTHONDIR)/stint',:)

# A sanitizer's runtime would have to be in python itself.
ifdef SANITIZE
build-python:
else ifeq ($(python_headers),)
build-python:
	@echo '  the Python module is left out: there are no headers of Python 3.10 or later (python3-dev)'
else
build-python: $(PYTHON_MODULE)
endif

$(BUILD)/lib/python/%.o: PART = -fPIC -fvisibility=hidden -Ilib $(patsubst -I%,-isystem %,$(python_headers))

$(PYTHON_MODULE): $(python_objects) $(BUILD)/libstint.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) -shared $(LINK_HARDEN) $(LDFLAGS) -Wl,--exclude-libs,ALL -o $@ $^ -pthread

all: build-python

install-python:
	$(INSTALL_PYTHON)

.PHONY: build-python install-python

-include $(patsubst %.c,$(BUILD)/%.d,$(PYTHON_EXTENSION))
