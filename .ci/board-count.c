/* A plugin for qemu's user mode: counts the instructions the guest executes, in a file that others
 * can read meanwhile.
 *
 *     gcc -shared -fPIC -O2 -o count.so board-count.c
 *     qemu-mipsel -plugin ./count.so,counter=FILE program
 *
 * FILE then holds one 64-bit number. Debian has no header for plugins; this is the part of the
 * interface (version 1, qemu 4.2 and later) that is needed. */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info;

extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(
    struct qemu_plugin_tb *block, int operation, void *counter, uint64_t amount);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { ADD_U64 = 0 };

static uint64_t *counter;

/* The addition is made in line by the translated code, without a lock: two threads that run at the
 * same moment may lose one. The bridge's take turns, nearly always. */
static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, counter, qemu_plugin_tb_n_insns(block));
}

static uint64_t *map_counter(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, sizeof(uint64_t)) != 0)
        return NULL;
    void *memory = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const struct qemu_info *info, int count, char **arguments)
{
    (void)info;
    static const char option[] = "counter=";
    if (count != 1 || strncmp(arguments[0], option, sizeof(option) - 1) != 0) {
        fprintf(stderr, "count: needs counter=FILE\n");
        return -1;
    }
    counter = map_counter(arguments[0] + sizeof(option) - 1);
    if (counter == NULL) {
        perror("count");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    return 0;
}
