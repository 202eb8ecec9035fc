# The nginx module, for Debian's nginx. Its headers come with the package nginx-dev; without them it is left out. The library is
# linked into it: one file, which needs nothing beside nginx.

NGINX := \
	lib/nginx/agent.c \
	lib/nginx/answer.c \
	lib/nginx/check.c \
	lib/nginx/handler.c \
	lib/nginx/limit.c \
	lib/nginx/module.c \
	lib/nginx/modules.c \
	lib/nginx/visit.c

NGINX_SRC ?= /usr/share/nginx/src
NGINX_MODULE := $(BUILD)/ngx_http_stint_module.so

nginx_objects = $(NGINX:%.c=$(BUILD)/%.o)
nginx_tree = $(BUILD)/nginx
nginx_config = $(nginx_tree)/objs/ngx_auto_config.h
nginx_folders = $(nginx_tree)/objs $(addprefix $(nginx_tree)/src/src/,core event event/modules os/unix http http/modules http/v2)

# NGINX_MODULESDIR= leaves the module out.
NGINX_MODULESDIR ?= $(LIBDIR)/nginx/modules
INSTALL_NGINX = $(if $(and $(wildcard $(NGINX_MODULE)),$(NGINX_MODULESDIR)),install -D -m 644 $(NGINX_MODULE) '$(DESTDIR)$(NGINX_MODULESDIR)/$(notdir $(NGINX_MODULE))',:)
UNINSTALL_NGINX = $(if $(NGINX_MODULESDIR),rm -f '$(DESTDIR)$(NGINX_MODULESDIR)/$(notdir $(NGINX_MODULE))',:)

# A sanitizer's runtime would have to be in nginx itself.
ifdef SANITIZE
build-nginx:
else ifeq ($(wildcard $(NGINX_SRC)/conf_flags),)
build-nginx:
	@echo '  the nginx module is left out: the package nginx-dev is not installed'
else
build-nginx: $(NGINX_MODULE)
endif

# Its headers depend on how it was configured: once for each version of the package.
$(nginx_config): $(NGINX_SRC)/conf_flags
	$(call say,CONFIG,$(nginx_tree))rm -rf $(nginx_tree) && mkdir -p $(nginx_tree) && cp -r $(NGINX_SRC) $(nginx_tree)/src && \
		cd $(nginx_tree)/src && bash -c '. ./conf_flags && ./configure "$${NGX_CONF_FLAGS[@]}" --builddir=../objs' >../log 2>&1 || \
		{ tail -5 ../log; exit 1; }

$(BUILD)/lib/nginx/%.o: PART = -fPIC -fvisibility=hidden -Ilib $(addprefix -isystem ,$(nginx_folders))
$(nginx_objects): $(nginx_config)

$(NGINX_MODULE): $(nginx_objects) $(BUILD)/libstint.a
	$(call say,LD,$@)$(CC) -shared $(LINK_HARDEN) $(LDFLAGS) -Wl,--exclude-libs,ALL -o $@ $^ -pthread

all: build-nginx

.PHONY: build-nginx

-include $(patsubst %.c,$(BUILD)/%.d,$(NGINX))
