// Package stickiness is a short form of Stateful Route's own rows of `make rivals`: the
// suite of the packages under stickiness/, which know nothing of it, judges what was built.
package stickiness
