# The only door: 'make help' lists what is supported.

INIT   ?= systemd
PREFIX ?= /usr
SUITE  ?= bookworm
CODA_PREFIX ?=
TESTS  ?= tests/contract tests/unit tests/netns
export INIT CODA_PREFIX

B      := build
PYTHON := $(B)/venv/bin/python
SITE   := $(B)/venv/lib/python3.11/site-packages
OURS   := PYTHONPATH=$(CURDIR)/lib:$(CURDIR)/$(SITE) PATH=$(CURDIR)/bin:$$PATH
PYTEST := $(PYTHON) -m pytest
SAY    := @printf '==> %s\n'

.PHONY: help boot test check check-netns check-boot check-coda check-debian bench bench-coda coverage lint install shell clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
	@echo 'Variables: INIT=systemd|sysvinit|busybox BATCH=1 (boot), CODA_PREFIX= (test, check-coda, check-debian, bench-coda), DESTDIR= PREFIX= (install)'

boot: $(B)/packages $(B)/venv/done $(B)/disk/done $(B)/sample-$(INIT)/done ## boot the sample in a VM, up to its login prompt; BATCH=1 or no terminal: prove it
	@$(OURS) $(PYTHON) tests/boot/try_boot.py

test: $(B)/packages $(B)/venv/done $(B)/disk/done $(B)/samples ## everything: lint, contracts, unit, network and VM tests
	$(MAKE) lint
	CODA_TEST_STRICT=1 $(PYTEST) tests/contract tests/unit tests/netns tests/boot $(if $(CODA_PREFIX),tests/coda) -m 'not long'

check: $(B)/packages $(B)/venv/done lint ## lint, contracts and unit tests: no root, no VM, about a minute on two processors
	$(PYTEST) -q -n auto --dist worksteal tests/contract tests/unit

check-netns: $(B)/packages $(B)/venv/done ## the network tests, in namespaces with real servers
	CODA_TEST_STRICT=1 $(PYTEST) tests/netns

check-boot: $(B)/packages $(B)/venv/done $(B)/disk/done $(B)/samples ## the VM tests
	CODA_TEST_STRICT=1 $(PYTEST) tests/boot

check-coda: $(B)/packages $(B)/venv/done $(B)/donor/done ## the tests with a real Coda: CODA_PREFIX=/usr, or where it is installed
	CODA_TEST_STRICT=1 $(PYTEST) tests/coda -m 'not long'

check-debian: $(B)/packages $(B)/venv/done $(B)/donor/done $(B)/sample-systemd/done ## Debian into a real Coda and from it: an hour without KVM
	CODA_TEST_STRICT=1 $(PYTEST) tests/coda -m long

bench: $(B)/packages $(B)/venv/done $(B)/disk/done $(B)/sample-systemd/done $(B)/sample-busybox/done ## measure; numbers go to build/bench.json
	@$(OURS) $(PYTHON) tests/bench/bench.py

bench-coda: $(B)/packages $(B)/venv/done $(B)/donor/done $(B)/sample-systemd/done ## measure with a real Coda, below CODA_PREFIX
	@$(OURS) $(PYTHON) tests/bench/bench_coda.py

coverage: $(B)/packages $(B)/venv/done ## coverage of bin/, lib/ and etc/init by the contract, unit and network tests
	sh tests/coverage $(PYTHON) $(TESTS)

lint: $(B)/packages $(B)/venv/done ## ruff, shellcheck
	$(PYTHON) -m ruff check --quiet --config tests/ruff.toml lib tests setup.py bin/coda-*
	shellcheck -S warning etc/init etc/initrd etc/shutdown tests/boot/sample/build tests/boot/sample/proof tests/coda/serve tests/bench/guest/shell-init-coda tests/coverage .ci/run

install: ## put bin, lib, etc and man below DESTDIR, at the places Debian expects
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/lib/python3/dist-packages $(DESTDIR)/etc/coda-boot
	install -m 755 bin/coda-* $(DESTDIR)$(PREFIX)/sbin
	cd lib && find . -name '*.py' -exec install -D -m 644 '{}' '$(abspath $(DESTDIR)/)$(PREFIX)/lib/python3/dist-packages/{}' ';'
	cp -R etc/. $(DESTDIR)/etc/coda-boot
	for page in man/*.[0-9]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit; \
	done

shell: $(B)/venv/done ## a shell with PATH, PYTHONPATH and MANPATH set to this checkout
	@$(OURS) MANPATH=$(CURDIR)/man: $${SHELL:-/bin/sh}

clean: ## remove all that was built
	rm -rf $(B) .coverage*

# --- set-up: each part says what it does, and is done once --------------------------------
$(B)/packages: tests/packages
	@mkdir -p $(B)
	$(SAY) "Debian packages: $$(sed 's/#.*//' tests/packages | tr '\n' ' ')"
	@sed 's/#.*//' tests/packages | xargs dpkg-query -W -f '' 2>/dev/null || { \
		apt-get update && \
		sed 's/#.*//' tests/packages | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends; }
	@touch $@

$(B)/venv/done: tests/requirements.txt | $(B)/packages
	$(SAY) 'Python packages: tests/requirements.txt'
	@/usr/bin/python3 -m venv $(B)/venv
	@$(PYTHON) -m pip install --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# The Debian packages the boot disk is made from, unpacked and not configured.
$(B)/donor/done: | $(B)/packages
	$(SAY) 'the packages of the boot disk: python3, e2fsprogs, busybox, linux-image'
	@rm -rf $(B)/donor
	@mmdebstrap --mode=root --variant=extract $(SUITE) $(B)/donor \
		--include=python3-minimal,libpython3.11-stdlib,e2fsprogs,kmod,busybox-static,linux-image-amd64
	@touch $@

$(B)/disk/done: $(B)/donor/done $(B)/venv/done $(shell find bin lib etc -type f -not -name '*.pyc')
	$(SAY) 'the boot disk'
	@$(OURS) coda-build-disk --from=$(B)/donor --etc=etc --verbose $(B)/disk >$(B)/disk.sizes
	@cat $(B)/disk.sizes
	@touch $@

$(B)/sample-%/done: $(shell find tests/boot/sample -type f) | $(B)/packages $(B)/venv/done
	$(SAY) 'the sample new root: Debian $(SUITE) with $*'
	@mkdir -p $(@D)
	@$(OURS) tests/boot/sample/build $* $(@D)
	@touch $@

.PHONY: $(B)/samples
$(B)/samples: $(B)/sample-systemd/done $(B)/sample-sysvinit/done $(B)/sample-busybox/done
