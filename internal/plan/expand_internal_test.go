package plan

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/job"
)

func TestShellExpansion(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"A": "aval", "EMPTY": "", "FILE": "dir/sub/file.tar.gz", "RAW": "x$A", "LONG": strings.Repeat("x", maxTrimmed+1)}
	for text, want := range map[string]string{
		"plain":              "plain",
		"$A/${A}":            "aval/aval",
		"$A_B$A":             "aval",
		"$A.zip":             "aval.zip",
		"$UNSET|${UNSET}":    "|",
		"$RAW":               "x$A",
		"$$A $":              "$A $",
		`\$A \\ \*`:          `$A \ \*`,
		"$1$@$?x":            "x",
		"${UNSET:-dist}/":    "dist/",
		"${EMPTY:-dist}":     "dist",
		"${EMPTY-dist}":      "",
		"${UNSET:=dist}":     "dist",
		"${A:-dist}":         "aval",
		"${A:+yes}${B+no}":   "yes",
		"${UNSET:-${A}-$A}":  "aval-aval",
		"${UNSET:-{x,y}.txt": "{x,y.txt", // as a shell has it: the first } ends it
		"${#A}":              "4",
		"${FILE##*/}":        "file.tar.gz",
		"${FILE#*/}":         "sub/file.tar.gz",
		"${FILE%.*}":         "dir/sub/file.tar",
		"${FILE%%.*}":        "dir/sub/file",
		"${FILE%.[a-g]z}":    "dir/sub/file.tar",
		"${FILE%nothing}":    "dir/sub/file.tar.gz",
		"{$A,b}/**/*.[ch]":   "{aval,b}/**/*.[ch]",
		"ü$A":                "üaval",
	} {
		x := shellExpansion{lookup: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
		if got, err := x.expand(text); err != nil || got != want {
			t.Errorf("%q became %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"$(id)", "`id`", "$((1+2))", "${", "${A", "${!A}", "${A/x/y}", "${UNSET?gone}", "${}", "${A@Q}", "${LONG%x}",
		strings.Repeat("${B:-", 100) + strings.Repeat("}", 100),
	} {
		x := shellExpansion{lookup: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
		if got, err := x.expand(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzShellExpansion(f *testing.F) {
	for _, s := range []string{"${A:-${B%%[a-z]*}}", `\$A$$`, "${#A}", "${A#[!x]\\", "${{A}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := shellExpansion{lookup: func(name string) (string, bool) { return "value", name != "B" }}
		if got, err := x.expand(text); err == nil && !strings.ContainsAny(text, "\\$`") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func TestCacheFormatInAnyCase(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{"TarZstd": "tarzstd", "zipzstd": "zipzstd", "": "zip", "rar": "zip"} {
		set := readSettings(&job.Job{}, Runner{}, func(key string) string {
			if key == "CACHE_COMPRESSION_FORMAT" {
				return raw
			}
			return ""
		}, 0)
		if set.CacheFormat != want || (len(set.Warnings) > 0) != (raw == "rar") {
			t.Errorf("%q became %q, warnings %q", raw, set.CacheFormat, set.Warnings)
		}
	}
}
