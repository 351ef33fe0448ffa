# SPDX-License-Identifier: GPL-2.0-only
"""The probes of ``defects``: one for each known defect of the pin page subsystem."""
