package hostfiles

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Program adds a program with all that it needs to be executed. A library that it names and the machine does
// not have is an error.
func (s *Set) Program(p string) error {
	real, err := s.Add(p)
	if err != nil {
		return err
	}
	return s.needs(real)
}

// Library adds a library by its name, if the machine has it: one that programs load without naming it.
func (s *Set) Library(name string) error {
	for _, dir := range s.libs {
		if s.exists(path.Join(dir, name)) {
			return s.Program(path.Join(dir, name))
		}
	}
	return nil
}

// needs adds what the file at a path without links needs.
func (s *Set) needs(p string) error {
	f, err := os.Open(path.Join(s.root, p))
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := f.Read(head)
	if err != nil {
		return nil // an empty file needs nothing
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := strings.Cut(string(head[2:]), "\n")
		words := strings.Fields(line)
		if len(words) == 0 || s.Has(words[0]) {
			return nil
		}
		return s.Program(words[0])
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		e, err := elf.NewFile(f)
		if err != nil {
			return fmt.Errorf("read program %s: %w", p, err)
		}
		return s.dynamic(e, p)
	default:
		return nil
	}
}

// dynamic adds a program's loader and libraries. Source of the search: ld.so(8).
func (s *Set) dynamic(e *elf.File, p string) error {
	for _, prog := range e.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		raw := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(raw, 0); err != nil {
			return fmt.Errorf("read program %s: %w", p, err)
		}
		if loader := strings.TrimRight(string(raw), "\x00"); !s.Has(loader) {
			if err := s.Program(loader); err != nil {
				return fmt.Errorf("program %s: %w", p, err)
			}
		}
	}
	libs, err := e.ImportedLibraries()
	if err != nil {
		return nil //nolint:nilerr // static
	}
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, err := e.DynString(tag)
		if err != nil {
			continue
		}
		for _, all := range paths {
			for dir := range strings.SplitSeq(all, ":") {
				dirs = append(dirs, strings.NewReplacer("$ORIGIN", path.Dir(p), "${ORIGIN}", path.Dir(p)).Replace(dir))
			}
		}
	}
	for _, lib := range libs {
		if err := s.library(lib, append(dirs, s.libs...), e.Class); err != nil {
			return fmt.Errorf("program %s: %w", p, err)
		}
	}
	return nil
}

func (s *Set) library(name string, dirs []string, class elf.Class) error {
	for _, dir := range dirs {
		p := path.Join(dir, name)
		if s.Has(p) {
			return nil
		}
		if !s.exists(p) || s.class(p) != class {
			continue
		}
		return s.Program(p)
	}
	return fmt.Errorf("needs the library %s, which is not in %s: %w", name, strings.Join(dirs, ", "), fs.ErrNotExist)
}

func (s *Set) exists(p string) bool {
	i, err := os.Stat(path.Join(s.root, p))
	return err == nil && i.Mode().IsRegular()
}

func (s *Set) class(p string) elf.Class {
	e, err := elf.Open(path.Join(s.root, p))
	if err != nil {
		return elf.ELFCLASSNONE
	}
	defer e.Close() //nolint:errcheck // only read
	return e.Class
}

// searchPath are the directories of /etc/ld.so.conf and the usual ones.
func (s *Set) searchPath() []string {
	var dirs []string
	s.readConf("/etc/ld.so.conf", &dirs, 0)
	// musl has its own file, /etc/ld-musl-ARCH.path.
	files, err := filepath.Glob(path.Join(s.root, "/etc/ld-musl-*.path"))
	if err == nil {
		for _, f := range files {
			if raw, err := os.ReadFile(f); err == nil {
				dirs = append(dirs, strings.FieldsFunc(string(raw), func(r rune) bool { return r == ':' || r == '\n' })...)
			}
		}
	}
	return append(dirs, "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
}

func (s *Set) readConf(p string, dirs *[]string, depth int) {
	f, err := os.Open(path.Join(s.root, p))
	if err != nil || depth > 5 {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(line)
		if pattern, ok := strings.CutPrefix(line, "include "); ok {
			pattern = strings.TrimSpace(pattern)
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(p), pattern)
			}
			matches, err := filepath.Glob(path.Join(s.root, pattern))
			if err != nil {
				continue
			}
			for _, m := range matches {
				s.readConf(strings.TrimPrefix(m, strings.TrimSuffix(s.root, "/")), dirs, depth+1)
			}
		} else if path.IsAbs(line) {
			*dirs = append(*dirs, line)
		}
	}
}

// ErrNoProgram says that the machine lacks a program that is needed.
var ErrNoProgram = errors.New("is not installed on this machine")
