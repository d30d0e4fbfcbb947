#!/usr/bin/env bash
# Finds the sallyport that this very tree of the action stands for, and says where it is.
#
# Where .github/release names a version, that release's archive is fetched, and what it must
# be stands here in checksums.txt: nothing that can change later decides. Elsewhere (a commit,
# a fork, no network) it is built from this tree with the runner's Go. Nothing is taken from
# the workspace or from a cache that other jobs write to.
#
# Reads ACTION_PATH, ACTION_REPOSITORY, COMMAND and the runner's own variables; writes the
# output "sallyport", and for the command "setup" a line to GITHUB_PATH.
set -euo pipefail

fail() { printf '::error title=Sallyport::%s\n' "$*"; exit 2; }
note() { printf 'sallyport: %s\n' "$*"; }

case ${COMMAND:-} in
  setup | classify | gate | mint | revoke) ;;
  *) fail 'the input command is none of setup, classify, gate, mint, revoke' ;;
esac
for name in ACTION_PATH RUNNER_OS RUNNER_ARCH RUNNER_TEMP GITHUB_OUTPUT GITHUB_PATH; do
  [[ -n ${!name:-} ]] || fail "$name is not set: this script runs in a job of GitHub Actions"
done

suffix='' packed=tar.gz
unix() { printf '%s' "$1"; }
native() { printf '%s' "$1"; }
case $RUNNER_OS in
  Linux) os=linux ;;
  macOS) os=darwin ;;
  Windows)
    os=windows suffix=.exe packed=zip
    unix() { cygpath -u "$1"; }
    native() { cygpath -w "$1"; }
    ;;
  *) fail 'the runner has another system than Linux, macOS or Windows' ;;
esac
case $RUNNER_ARCH in
  X64) arch=amd64 ;;
  ARM64) arch=arm64 ;;
  *) arch='' ;; # not released; Go may build for it
esac
tree=$(unix "$ACTION_PATH")
home=$(unix "$RUNNER_TEMP")/sallyport
[[ -f $tree/go.mod && -d $tree/cmd/sallyport ]] || fail 'ACTION_PATH is not the tree of this action'
umask 077
mkdir -p "$home"

digest() {
  local sum
  if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$1"); else sum=$(shasum -a 256 <"$1"); fi
  printf '%s' "${sum%% *}"
}

# Both functions below are asked in conditions, where "set -e" does not hold: each step says
# itself what becomes of its failure. They print the program's path, and return 1 where they
# have none; what must not be passed over ends the job with 2.

# release gives a release's program, where this tree is one's.
release() {
  local version archive want file program
  [[ -s $tree/.github/release/version && -s $tree/.github/release/checksums.txt && -n $arch ]] || return 1
  version=$(<"$tree/.github/release/version")
  [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-rc\.[0-9]+)?$ ]] || return 1
  archive=sallyport_${version#v}_${os}_${arch}.$packed
  want=$(awk -v name="$archive" '$2 == name { print $1 }' "$tree/.github/release/checksums.txt")
  [[ $want =~ ^[0-9a-f]{64}$ ]] || return 1
  program=$home/$want/sallyport$suffix
  if [[ -x $program ]]; then
    printf '%s' "$program"
    return 0
  fi
  [[ ${ACTION_REPOSITORY:-} =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ ]] || return 1
  file=$(mktemp "$home/archive.XXXXXX") || return 1
  curl --fail --silent --show-error --location --proto '=https' --proto-redir '=https' --connect-timeout 10 --max-time 120 \
    --retry 3 --max-filesize 100000000 --output "$file" \
    "${GITHUB_SERVER_URL:-https://github.com}/$ACTION_REPOSITORY/releases/download/$version/$archive" >&2 || { rm -f "$file"; return 1; }
  if [[ $(digest "$file") != "$want" ]]; then
    rm -f "$file"
    fail "$archive is not what this commit says it must be: somebody replaced it, or something on the way did" >&2
  fi
  # One member, to a file that is named here: nothing else of the archive is written.
  mkdir -p "$home/$want" || return 1
  if [[ $packed == zip ]]; then
    unzip -p "$file" "sallyport$suffix" >"$program.part" || fail "$archive cannot be unpacked" >&2
  else
    tar -xzOf "$file" sallyport >"$program.part" || fail "$archive cannot be unpacked" >&2
  fi
  [[ -s $program.part ]] || fail "$archive has no sallyport in it" >&2
  chmod 700 "$program.part" && mv "$program.part" "$program" && rm -f "$file" || return 1
  printf '%s' "$program"
}

# build gives a program built from this tree. Go itself knows what has to be built again.
build() {
  local program=$home/built/sallyport$suffix log
  command -v go >/dev/null ||
    fail 'this commit is no release, so that sallyport is built from it, and the runner has no Go: run actions/setup-go before, or use a release' >&2
  mkdir -p "$home/built" || return 1
  log=$(mktemp "$home/build.XXXXXX") || return 1
  if ! (cd "$tree" && env -u GOOS -u GOARCH GOFLAGS=-mod=readonly GOWORK=off GO111MODULE=on CGO_ENABLED=0 \
    go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$(native "$program")" ./cmd/sallyport) >"$log" 2>&1; then
    sed 's/^/  /' "$log" >&2
    if grep -q 'GOTOOLCHAIN=local' "$log"; then
      fail 'the runner has an older Go than this tree needs, and may not fetch another (GOTOOLCHAIN=local): run actions/setup-go with the version of go.mod' >&2
    fi
    fail 'sallyport could not be built from this tree: see above' >&2
  fi
  rm -f "$log"
  printf '%s' "$program"
}

program='' code=0
program=$(release) || code=$?
case $code in
  0) note "release $(<"$tree/.github/release/version")" ;;
  1)
    program=$(build)
    note 'built from the source of this action'
    ;;
  *) exit "$code" ;;
esac
printf 'sallyport=%s\n' "$(native "$program")" >>"$GITHUB_OUTPUT"
if [[ $COMMAND == setup ]]; then
  printf '%s\n' "$(native "$(dirname "$program")")" >>"$GITHUB_PATH"
fi
