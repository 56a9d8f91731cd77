package archive_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/archive"
)

// seeds are archives of every kind of entry, ours and others'.
func seeds(f *testing.F, wrap func(testing.TB, ...evil) []byte) [][]byte {
	f.Helper()
	return [][]byte{
		wrap(f, evil{name: "a/b", content: "hello hello hello hello hello", mode: 0o644}, evil{name: "c", mode: 0o600}),
		wrap(f, evil{name: "../canary", content: "dead", mode: 0o644}),
		wrap(f, evil{name: "l", content: "../secret", mode: link}, evil{name: "l/dir/file", content: "dead", mode: 0o644}),
		wrap(f, evil{name: "d/", mode: 0o700 | 1<<31}, evil{name: "d/x", content: "1", mode: 0o4755}),
	}
}

// check extracts b and looks for what is outside.
func check(t *testing.T, b []byte, format archive.Format) {
	a := newArena(t)
	_ = a.extract(t, b, archive.Options{Format: format, MaxBytes: 1 << 20, Workers: 2})
	a.unharmed(t)
	checkKinds(t, a.dir)
}

func FuzzExtractZip(f *testing.F) {
	for _, b := range seeds(f, evilZip) {
		f.Add(b)
	}
	f.Add(create(f, tiny(f), archive.Options{}))
	f.Add(create(f, tiny(f), archive.Options{Format: archive.ZipZstd}))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, b, archive.Zip) })
}

func FuzzExtractTarZstd(f *testing.F) {
	for _, b := range seeds(f, evilTar) {
		f.Add(zstdOf(f, b))
	}
	f.Add(create(f, tiny(f), archive.Options{Format: archive.TarZstd}))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, b, archive.TarZstd) })
}

// FuzzExtractTar mutates the tar inside, which compression would hide from the fuzzer.
func FuzzExtractTar(f *testing.F) {
	for _, b := range seeds(f, evilTar) {
		f.Add(b)
	}
	f.Add(evilTar(f, evil{name: "h", content: "../canary", hard: true}))
	f.Fuzz(func(t *testing.T, b []byte) { check(t, zstdOf(t, b), archive.TarZstd) })
}

// tiny is a small tree.
func tiny(t testing.TB) string {
	a := newArena(t)
	must(t, a.extract(t, evilZip(t, evil{name: "x/y", content: "some text, some text, some text", mode: 0o755},
		evil{name: "l", content: "x/y", mode: link}), archive.Options{}))
	return a.dir
}
