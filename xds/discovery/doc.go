// Package discovery follows the sources that name the pods of a service, and
// decides what of their answers is believed.
package discovery
