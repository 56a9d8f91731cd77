package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// prose is n bytes of what looks like a program to a compressor.
func prose(r *rand.Rand, n int) []byte {
	words := []string{"func", "return", "error", "context", "package", "the", "of", "if err != nil {\n", "}\n", "archive"}
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %x ", words[r.IntN(len(words))], r.IntN(1<<12))
	}
	return b.Bytes()[:n]
}

// noise is n bytes that do not compress.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// fillSmall makes 20,000 files like those of a package cache: most have a few KiB.
func fillSmall(dir string, share float64) error {
	r := newRandom(3)
	for i := range int(20_000 * share) {
		d := filepath.Join(dir, fmt.Sprintf("pkg%03d/lib%d", i/40, i%3))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		size := 200 + int(r.ExpFloat64()*3500)
		if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("file%05d.js", i)), prose(r, size), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fillMixed makes 1 GiB in files of 4 KiB to 128 MiB; every other series of sizes does not compress.
func fillMixed(dir string, share float64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r := newRandom(5)
	soft, hard := prose(r, 4<<20), noise(r, 4<<20)
	left := int(share * (1 << 30))
	for i := 0; left > 0; i++ {
		size := min(left, 4<<10<<(i%16))
		src := soft
		if i/16%2 == 1 {
			src = hard
		}
		if err := fillFile(filepath.Join(dir, fmt.Sprintf("file%04d", i)), r, src, size); err != nil {
			return err
		}
		left -= size
	}
	return nil
}

func fillFile(path string, r *rand.Rand, src []byte, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for n := 0; n < size; {
		at := r.IntN(len(src) / 2)
		k, err := f.Write(src[at : at+min(size-n, len(src)/2)])
		if err != nil {
			return err
		}
		n += k
	}
	return f.Close()
}
