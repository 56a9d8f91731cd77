// Package register is the register command: it finds out what a runner is to be, by flags, variables,
// a template and questions, makes or verifies it in GitLab, and writes it down.
package register
