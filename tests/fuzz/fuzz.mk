# The fuzzers: one program each, tests/fuzz/fuzz_NAME.c, run by tests/fuzz/run over tests/fuzz/corpus/NAME. They are built by clang,
# with the product instrumented, in a folder of their own.

# Link the agent's parts, or the library's: never both, since each has names of its own for the same things.
AGENT_FUZZERS := \
	tests/fuzz/fuzz_answer.c \
	tests/fuzz/fuzz_config.c \
	tests/fuzz/fuzz_server.c \
	tests/fuzz/fuzz_table.c

LIB_FUZZERS := \
	tests/fuzz/fuzz_app.c \
	tests/fuzz/fuzz_attach.c \
	tests/fuzz/fuzz_http.c

agent_fuzzers = $(AGENT_FUZZERS:%.c=$(BUILD)/%)
lib_fuzzers = $(LIB_FUZZERS:%.c=$(BUILD)/%)

FUZZ_SANITIZE := address,undefined
link_fuzzer = $(call say,LD,$@)$(CC) -fsanitize=fuzzer,$(FUZZ_SANITIZE) $(LDFLAGS) -o $@ $^

$(agent_fuzzers): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/agent.a
	$(link_fuzzer) $(STINTD_LIBS) -lm -pthread

$(lib_fuzzers): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/lib/fake_agent.o $(lib_objects)
	$(link_fuzzer) -lm -pthread

$(BUILD)/tests/fuzz/%.o: PART = -fPIE -Ilib -Iagent -Itests/support -Itests/agent -Itests/lib

fuzzers: $(agent_fuzzers) $(lib_fuzzers)

# gcc's warnings are those of the other builds; clang has others by the same names.
build-fuzz: build-fuzzers
build-fuzzers:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang SANITIZE=fuzzer-no-link,$(FUZZ_SANITIZE) CFLAGS='-O1 -g1' \
		WARN='-Wall -Wextra -Wshadow -Wstrict-prototypes' fuzzers

check-fuzz: build-fuzzers
	@tests/fuzz/run

KINDS += fuzz
SOAK_PROGRAMS += build-fuzzers

.PHONY: build-fuzz build-fuzzers check-fuzz fuzzers

-include $(patsubst %.c,$(BUILD)/%.d,$(AGENT_FUZZERS) $(LIB_FUZZERS))
