// Package seccomp is the profiles by which the kernel refuses calls to containers of jobs that may do more than an engine's own profile allows, or less:
// Builds for jobs that build images without an engine, Nested for jobs' own engines. Profiles are values, nothing here asks an engine or the machine;
// who gives them to which containers, and how an engine takes them, is the executor's matter.
package seccomp
