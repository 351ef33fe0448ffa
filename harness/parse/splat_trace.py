# SPDX-License-Identifier: GPL-2.0-only
"""Which function a report accuses: the program counter's, or the first sensible one of a trace.

Reports pass through functions that only report (dump_stack, kasan_report, lockdep's insides) and
through helpers that everybody calls (locks, allocators, schedule, memcpy). The first are never
guilty; the second only where nothing else is named.
"""

from __future__ import annotations

import re

from harness.parse.splat_text import CODE, PLACE, SYMBOL, plain_symbol


def _names(*patterns: str) -> re.Pattern[str]:
    return re.compile(r"_*(?:" + "|".join(patterns) + r")\Z")


# Leading underscores are ignored in both tables.
_REPORTING = _names(
    # stacks, oops and panic
    r"dump_stack\w*|show_stack\w*|show_regs|show_trace\w*|dump_backtrace\w*|show_trace_log_lvl",
    r"v?panic\w*|nmi_panic\w*|check_panic_on_warn|warn|warn_printk|warn_slowpath\w*|die\w*",
    r"oops_(?:begin|end|enter|exit)|report_bug|handle_bug|bug_handler|bug_brk_handler|bug_trap",
    r"brk_handler|call_break_hook|do_debug_exception|exc_\w+|asm_exc_\w+|do_error_trap|do_trap\w*",
    r"do_(?:invalid_op|int3|page_fault|user_addr_fault|kern_addr_fault|general_protection)",
    r"(?:async_)?page_fault\w*|page_fault_oops|kernelmode_fixup_or_oops|bad_area\w*|no_context",
    r"invalid_op|general_protection|divide_error|error_entry|error_exit|asm_common_interrupt",
    r"do_mem_abort|do_translation_fault|do_bad_area|do_kernel_fault|do_undefinstr|do_serror",
    r"arm64_serror_panic|arm64_notify_die|handle_bad_stack|bad_mode|panic_bad_stack",
    r"el[01]\w*|panic_unhandled|vectors|stack_chk_fail|fortify_panic|fortify_report",
    r"usercopy_abort|abort|unwind_backtrace|arch_stack_walk|stack_trace_save\w*",
    # the ways into the kernel, and out of it
    r"do_syscall_\w+|x64_sys_call|entry_\w+|ksys_\w+|(?:do_)?sys_(?:read|write|exit\w*)|vfs_write",
    r"(?:x64|arm64|ia32)_sys_(?:read|write|exit\w*)|invoke_syscall\w*|do_el0_\w+|full_proxy_\w+",
    r"(?:syscall_|irqentry_|prepare_)?exit_to_\w+|syscall_exit\w*|irqentry_exit\w*|kthread|ret_from_\w+",
    r"native_safe_halt|default_idle\w*|arch_cpu_idle|cpu_do_idle|cpu_startup_entry|do_idle",
    r"switch_to\w*|kmemleak_\w+|secondary_\w+|start_secondary|start_kernel|rest_init|x86_64_start_\w+|primary_\w+",
    # sanitizers
    r"kasan_\w+|asan_\w+|hwasan_\w+|check_memory_region\w*|check_region_inline",
    r"mte_check\w*|print_address_description\w*|print_report|kfence_\w+|kcsan_\w+|tsan_\w+|kmsan_\w+|msan_\w+",
    r"check_slab_allocation|slab_free_hook|ubsan_\w+|handle_overflow|val_to_string|metadata_update_state",
    # lockdep and RCU
    r"print_\w*bug|print_circular_bug\w*|print_usage_bug\w*|print_unlock_imbalance_bug\w*",
    r"print_\w*deadlock\w*|print_bad_irq_dependency|print_irq_inversion_bug|print_freed_lock_bug",
    r"check_\w*(?:noncircular|irq_usage|deadlock\w*|prevs?_add|usage\w*|wait_context)|check_irq_\w+",
    r"validate_chain|mark_(?:lock\w*|usage|held_locks)|lock_(?:acquire|release)|lockdep_\w+",
    r"register_lock_class|assign_lock_key|debug_check_no_locks\w*|rcu_lockdep\w*|look_up_lock_class",
    r"print_(?:other_)?cpu_stall\w*|print_cpu_stall_info|rcu_dump_cpu_stacks|rcu_\w*gp_\w+",
    r"rcu_(?:sched_clock_irq|pending|check_callbacks|stall_\w+)|check_cpu_stall",
    r"nmi_\w*backtrace\w*|trigger_\w*backtrace\w*|arch_trigger_\w+|sched_show_task",
    r"dump_cpu_task|rcu_print_\w+|(?:smp_|local_|asm_sysvec_)*apic_timer_interrupt|asm_call_irq_on_stack|irq_svc"
    r"|call_on_stack|fixup_bug|do_tag_\w+|sched_text_start|sanitizer_cov_\w+"
    r"|update_process_times|tick_\w+|(?:asm_)?common_interrupt|timer_interrupt|handle_\w*irq\w*",
    r"generic_handle_\w+|gic_\w+|arch_timer_\w+|do_interrupt_handler|call_on_irq_stack|do_IRQ",
    r"hrtimer_(?:interrupt|run_queues)|run_hrtimer\w*|watchdog\w*|is_\w*lockup\w*",
    r"sysvec_\w+|asm_sysvec_\w+",
    # checks that call WARN, BUG or printk for somebody else
    r"refcount_\w+|list_\w*(?:valid|add|del)\w*|debug_print_object|debug_object_\w+",
    r"init_\w+_key|debug_check_no_obj\w*|debug_\w+_(?:activate|deactivate|free|init)|bad_page(?:_reason)?|print_bad_pte",
    r"might_(?:sleep|resched|fault|alloc)\w*|cant_\w+|schedule_bug|spin_(?:bug|dump)|rwlock_bug",
    r"do_raw_(?:spin|read|write)_\w+|object_err|slab_(?:err|bug|fix|pad_check|unlock|fix)\w*",
    r"check_(?:bytes\w*|object|slab|pad_bytes|heap_object|object_size|stack_object)",
    r"(?:alloc|free)_debug_processing|free_consistency_checks|on_freelist|print_trailer|print_section",
    r"free_to_partial_list|report_bad_irq|note_interrupt|warn_alloc|dump_header|dump_page",
    r"check_preemption_disabled|debug_smp_processor_id|this_cpu_preempt_check|mutex_lock_common",
    r"oom_kill_process|out_of_memory|rcu_read_(?:un)?lock\w*|stack_top",
)

_HELPER = _names(
    r"(?:raw_)?(?:spin|read|write)_\w*(?:lock|unlock|trylock)\w*|queued_(?:spin|read|write)_\w+",
    r"native_queued_\w+|rt_(?:spin|mutex)_\w+|mutex_\w+|ww_mutex_\w+|down(?:_\w+)?|up(?:_\w+)?",
    r"rwsem_\w+|percpu_(?:down|up|rwsem)\w*|schedule\w*|io_schedule\w*|preempt_schedule\w*",
    r"do_wait_for_common|wait_for_(?:common|completion)\w*|wait_on_bit\w*|out_of_line_wait\w*",
    r"delay_\w+|\w*[umn]delay\w*|context_switch|cond_resched|msleep\w*|ssleep|usleep_range\w*|fsleep|do_nanosleep",
    r"kmem_cache_(?:alloc|free)\w*|k[vz]*m?alloc\w*|kcalloc\w*|kfree\w*|kvfree\w*|slab_\w+",
    r"do_kmalloc\w*|do_slab_free|cache_(?:alloc|free)\w*|kmem_cache_\w+|krealloc\w*|vfree\w*",
    r"v[mz]alloc\w*|get_vm_area\w*|alloc_pages?\w*|folio_alloc\w*|alloc_frozen_pages\w*",
    r"get_free_pages\w*|get_page_from_freelist|free_pages?\w*|free_unref_\w+|free_pcp\w*|put_page",
    r"folio_put\w*|release_pages|prep_new_page|post_alloc_hook|rmqueue\w*|new_slab|allocate_slab",
    r"mem(?:cpy|set|move|cmp|chr)\w*|str(?:n?cpy|len|n?cmp|n?cat|chr|nlen|scpy)\w*|rep_\w+|sized_\w+",
    r"copy_(?:to|from)_user\w*|copy_user\w*|clear_(?:page|user)\w*|copy_page\w*",
    r"(?:test_and_)?(?:set|clear|change)_bit\w*|atomic\w*|arch_atomic\w*",
    r"srso_\w+|retbleed_\w+|x86_(?:return|indirect)_thunk\w*|lock_sock\w*|local_bh_\w+",
    r"lkdtm_do_action|pv_\w+|paravirt_\w+|irq_work_\w+|csd_lock_\w+|smp_call_function_\w+",
    r"do_softirq\w*|irq_exit\w*|handle_softirqs|stack_trace_\w+",
    r"do_(?:group_)?exit|make_task_dead|get_signal|arch_do_signal\w*|do_notify_resume|do_signal",
    r"handle_mm_fault|do_anonymous_page|vma_alloc_\w+|alloc_anon_folio|do_(?:wp|swap|cow)_\w+",
    r"native_(?:read|write)_msr\w*|(?:rd|wr)msr\w*|Ldiv0\w*",
)

_TRACE = re.compile(r"\s*(?:[Cc]all [Tt]race|[Bb]acktrace|[Ss]tack trace|[Tt]race)\b.{0,40}:?\s*$")
_FRAME = re.compile(
    r"\s*\(?(?:\[?<(?P<address>[0-9a-f]+)>\]? ?|\[[0-9a-f]{16}\] ?)*(?:\[[0-9a-f]{16}\] ?)*"
    r"(?P<doubt>\(?\? ?)?\(?\.?(?P<name>[A-Za-z_$][\w$.]{0,200})"
    rf"(?:\+0x(?P<offset>[0-9a-f]+)|{PLACE}|\)?(?: \[\w+\])? from )"
)
_IN_TRACE = re.compile(
    r"\s*(?:</?[#A-Z][\w-]*>|<<|\[?<|RIP:|RSP:|RAX:|RDX:|RBP:|R\d\d:|Code:|ORIG_RAX|CS:|=====|$)"
    rf"|\s*(?:\? )?0x[0-9a-f]+|[0-9a-f]{{8,16}} |{CODE}"
)
_LINK = re.compile(r"\s*(?:lr|LR is at|ra|LR|RPC|RP\(r2\))(?!\w)")
_COUNTER = re.compile(
    r"\s*(?:RIP|EIP|IP|pc|epc|NIP|PC is at|Krnl PSW|ip|PC|TPC|ERA|IAOQ\[0\])(?!\w)"
)


def reporting(name: str) -> bool:
    """Whether a function only reports what others did."""
    return _REPORTING.match(name) is not None


def helper(name: str) -> bool:
    """Whether everybody calls a function."""
    return _HELPER.match(name) is not None


class Guilty:
    """Fed a report's lines in order, ``name`` is the function that it accuses so far."""

    def __init__(self) -> None:
        self._sure = ""
        self._doubtful = ""
        self._helper = ""
        self._reporter = ""
        self._tracing = False
        self._jumped = False  # to where no function is: the link register tells from where
        self.traced = False

    @property
    def name(self) -> str:
        return self._sure or self._helper or self._doubtful or self._reporter

    def headline(self, text: str) -> None:
        """A headline such as "… in foo+0x1/0x2" or "… in foo / bar" names its function."""
        found = SYMBOL.search(text) or re.search(r" in ([A-Za-z_]\w*)(?: / [A-Za-z_]\w*)$", text)
        if found is not None:
            self._reporter = plain_symbol(found[1])
            self._candidate(found[1], doubt=False)

    def line(self, text: str) -> None:
        """The next line of the report's body."""
        if _TRACE.match(text):
            self._tracing = self.traced = True
            return
        if self._sure:
            return
        if _COUNTER.match(text):
            found = SYMBOL.search(text)
            if found is not None:
                self._reporter = self._reporter or plain_symbol(found[1])
                self._candidate(found[1], doubt=False)
            self._jumped = found is None
        elif self._jumped and _LINK.match(text):
            if (found := SYMBOL.search(text)) is not None:
                self._candidate(found[1], doubt=False)
        elif self._tracing:
            frame = _FRAME.match(text)
            if frame is not None and frame["offset"] == "0":
                return  # what follows a call that never returns: not the caller
            if frame is not None:
                self._candidate(frame["name"], doubt=frame["doubt"] is not None)
            elif not _IN_TRACE.match(text):
                self._tracing = False

    def _candidate(self, symbol: str, *, doubt: bool) -> None:
        name = plain_symbol(symbol)
        if _REPORTING.match(name):
            return
        if doubt:
            if not _HELPER.match(name):
                self._doubtful = self._doubtful or name
        elif _HELPER.match(name):
            self._helper = self._helper or name
        else:
            self._sure = name
